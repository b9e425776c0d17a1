//! Mangled names -> names for people. Only names that are marked as mangled are touched: a C function called `f` stays `f`.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Longer names stay mangled.
const MAX_INPUT: usize = 1_024;
/// What a name may unpack to; 245 bytes of C++ can stand for 50 MB.
const MAX_OUTPUT: usize = 4_096;
/// Nesting of a C++ name.
const MAX_DEPTH: u32 = 96;

/// True for names that Rust or C++ mangled.
pub fn is_mangled(name: &str) -> bool {
    ["_Z", "__Z", "_R"].iter().any(|prefix| name.starts_with(prefix))
}

/// The name for people; the same name if it is not mangled, too long, not understood, or if nothing is left of it (`_ZNE`).
pub fn demangle(name: &str) -> Cow<'_, str> {
    if !is_mangled(name) || name.len() > MAX_INPUT {
        return Cow::Borrowed(name);
    }
    let shown = rust(name).or_else(|| cpp(name)).filter(|shown| !shown.is_empty());
    shown.map_or(Cow::Borrowed(name), Cow::Owned)
}

/// Without the hash, which differs from build to build.
fn rust(name: &str) -> Option<String> {
    let demangled = rustc_demangle::try_demangle(name).ok()?;
    let mut text = Bounded(String::new());
    write!(text, "{demangled:#}").ok()?;
    Some(text.0)
}

fn cpp(name: &str) -> Option<String> {
    let name = if name.starts_with("__Z") { name.get(1..)? } else { name };
    let parse = cpp_demangle::ParseOptions::default().recursion_limit(MAX_DEPTH);
    let print = cpp_demangle::DemangleOptions::new().recursion_limit(MAX_DEPTH);
    let symbol = cpp_demangle::Symbol::new_with_options(name, &parse).ok()?;
    let mut text = Bounded(String::new());
    symbol.structured_demangle(&mut text, &print).ok()?;
    Some(text.0)
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len().saturating_add(text.len()) > MAX_OUTPUT {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mangled: &str, expected: &str) {
        assert_eq!(demangle(mangled), expected, "{mangled}");
    }

    #[test]
    fn names() {
        check("main", "main");
        check("f", "f");
        check("runtime.mcall", "runtime.mcall");
        check("_ZN3foo3barEi", "foo::bar(int)");
        check("_ZSt4sortIPiEvT_S1_", "void std::sort<int*>(int*, int*)");
        check("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad");
        check("_RNvCs15kBYyAo9fc_7mycrate7example", "mycrate::example");
        check("_Znot a name", "_Znot a name");
        check("_ZNE", "_ZNE");
    }

    #[test]
    fn a_small_name_that_stands_for_megabytes_stays_mangled() {
        let doubling = (0..40).fold(String::from("_Z1fI1A"), |name, _| name + "S_S0_I") + "E";
        assert!(demangle(&doubling).len() <= MAX_OUTPUT);
        let long = format!("_Z{}", "1a".repeat(600));
        check(&long, &long);
    }

    proptest::proptest! {
        #[test]
        fn any_name_ends(name in "_(Z|R|_Z)[A-Za-z0-9_]{0,200}") {
            proptest::prop_assert!(demangle(&name).len() <= MAX_OUTPUT);
        }
    }
}
