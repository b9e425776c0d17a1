//! The kernel's own symbols: raw addresses to (module, offset), and those to names. Raw addresses stay in here.

use crate::event::{Frame, KernelPlaces, ModuleNumber};
use profiler_ebpf::reasons::Reason;
use std::io::{self, BufRead, BufReader};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Bytes of /proc/kallsyms that are read at most.
const MAX_BYTES: u64 = 256 << 20;
/// Modules that can be told apart (the kernel itself is one).
const MAX_MODULES: usize = 2_000;
/// An address in no known module (one was loaded since) makes the list be read again, at most this often.
const REFRESH: Duration = Duration::from_secs(10);
/// The last symbol of a module is taken to reach this far.
const TAIL: u64 = 4096;

/// A symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// Bytes from the start of its module's text.
    pub start: u64,
}

/// One module, or the kernel.
#[derive(Clone, Debug)]
struct Module {
    /// `[kernel.kallsyms]`, or the name in brackets.
    name: String,
    start: u64,
    end: u64,
    /// Sorted (offset, position in `names`).
    symbols: Vec<(u64, u32)>,
}

#[derive(Default)]
struct Table {
    /// By number; numbers never change their module's name.
    modules: Vec<Module>,
    /// Indexes of `modules` by start address.
    by_start: Vec<u16>,
    /// Names, each ended by a newline.
    names: String,
}

/// The kernel's symbols.
pub struct KernelSymbols {
    table: RwLock<Arc<Table>>,
    refreshed: RwLock<Instant>,
    open: fn() -> io::Result<std::fs::File>,
}

impl KernelSymbols {
    /// Reads /proc/kallsyms. Without CAP_SYSLOG all addresses there are zero: then every kernel frame is one `[kernel]`
    /// with its reason.
    pub fn of_this_kernel() -> io::Result<KernelSymbols> {
        let open = || std::fs::File::open("/proc/kallsyms");
        let table = Table::read(BufReader::new(open()?), &Table::default())?;
        Ok(KernelSymbols { table: RwLock::new(Arc::new(table)), refreshed: RwLock::new(Instant::now()), open })
    }

    /// True if addresses are shown.
    pub fn is_visible(&self) -> bool {
        !self.current().modules.is_empty()
    }

    /// Name and text size of a module.
    pub fn module(&self, module: ModuleNumber) -> Option<(String, u64)> {
        let table = self.current();
        let module = table.modules.get(usize::from(module.0))?;
        Some((module.name.clone(), module.end - module.start))
    }

    /// The symbol that covers an offset.
    pub fn symbol(&self, module: ModuleNumber, offset: u64) -> Option<Symbol> {
        let table = self.current();
        let module = table.modules.get(usize::from(module.0))?;
        let index = module.symbols.partition_point(|s| s.0 <= offset).checked_sub(1)?;
        let (start, name) = *module.symbols.get(index)?;
        let name = table.names.get(name as usize..)?.lines().next()?;
        Some(Symbol { name: name.to_owned(), start })
    }

    fn current(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn refresh(&self) -> Option<Arc<Table>> {
        {
            let mut refreshed = self.refreshed.write().unwrap_or_else(PoisonError::into_inner);
            if refreshed.elapsed() < REFRESH {
                return None;
            }
            *refreshed = Instant::now();
        }
        let table = Table::read(BufReader::new((self.open)().ok()?), &self.current()).ok()?;
        let table = Arc::new(table);
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&table);
        Some(table)
    }
}

impl KernelPlaces for KernelSymbols {
    fn place(&self, address: u64) -> Frame {
        let table = self.current();
        if table.modules.is_empty() {
            return Frame::Pseudo { reason: Reason::KernelHidden };
        }
        table
            .place(address)
            .or_else(|| self.refresh()?.place(address))
            .unwrap_or(Frame::Pseudo { reason: Reason::NoSymbol })
    }
}

impl Table {
    /// Parses `address type name [module]` lines. Modules that `before` knows keep their numbers.
    fn read(reader: impl BufRead, before: &Table) -> io::Result<Table> {
        let mut modules: Vec<Module> = before
            .modules
            .iter()
            .map(|m| Module { name: m.name.clone(), start: 0, end: 0, symbols: Vec::new() })
            .collect();
        if modules.is_empty() {
            modules.push(Module { name: "[kernel.kallsyms]".into(), start: 0, end: 0, symbols: Vec::new() });
        }
        let mut names = String::new();
        let mut kernel_end = 0;
        let mut any = false;
        for line in reader.take(MAX_BYTES).lines() {
            let line = line?;
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else { continue };
            let Ok(address) = u64::from_str_radix(address, 16) else { continue };
            if address == 0 || !matches!(kind, "t" | "T" | "w" | "W") {
                continue;
            }
            any = true;
            if name == "_etext" {
                kernel_end = address;
            }
            let index = match words.next() {
                None => 0,
                Some(module) => match modules.iter().position(|m| m.name == module) {
                    Some(index) => index,
                    None if modules.len() < MAX_MODULES => {
                        modules.push(Module { name: module.into(), start: 0, end: 0, symbols: Vec::new() });
                        modules.len() - 1
                    }
                    None => continue,
                },
            };
            let position = u32::try_from(names.len()).unwrap_or(u32::MAX);
            names.push_str(name);
            names.push('\n');
            if let Some(module) = modules.get_mut(index) {
                module.symbols.push((address, position));
            }
        }
        if !any {
            return Ok(Table::default());
        }
        for module in &mut modules {
            module.settle();
        }
        if let Some(kernel) = modules.first_mut()
            && kernel_end > kernel.start
        {
            let size = kernel_end - kernel.start;
            kernel.symbols.retain(|s| s.0 < size);
            kernel.end = kernel_end;
        }
        let mut by_start: Vec<u16> = (0..u16::try_from(modules.len()).unwrap_or(u16::MAX)).collect();
        by_start.retain(|i| modules.get(usize::from(*i)).is_some_and(|m| m.end > m.start));
        by_start.sort_by_key(|i| modules.get(usize::from(*i)).map_or(0, |m| m.start));
        Ok(Table { modules, by_start, names })
    }

    fn place(&self, address: u64) -> Option<Frame> {
        let module = |i: &u16| self.modules.get(usize::from(*i));
        let index = self.by_start.partition_point(|i| module(i).is_some_and(|m| m.start <= address)).checked_sub(1)?;
        let number = *self.by_start.get(index)?;
        let module = module(&number)?;
        (address < module.end).then(|| Frame::Kernel { module: ModuleNumber(number), offset: address - module.start })
    }
}

impl Module {
    /// Sorts the symbols and makes their addresses offsets from the first.
    fn settle(&mut self) {
        self.symbols.sort_unstable();
        self.symbols.dedup_by_key(|s| s.0);
        let (Some(first), Some(last)) = (self.symbols.first(), self.symbols.last()) else { return };
        self.start = first.0;
        self.end = last.0 + TAIL;
        let start = self.start;
        for symbol in &mut self.symbols {
            symbol.0 -= start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "ffffffff81000000 T _text\nffffffff81000100 t do_work\nffffffff81000100 T do_work_alias\n\
        ffffffff81002000 T _etext\nffffffff81900000 D data\nffffffffc0001000 t ext_read\t[ext4]\n\
        ffffffffc0001080 t ext_write\t[ext4]\n";

    #[test]
    fn addresses_find_their_module_and_symbol() {
        let table = Table::read(TEXT.as_bytes(), &Table::default()).expect("reads");
        let place = |address| table.place(address);
        let at = |module, offset| Some(Frame::Kernel { module: ModuleNumber(module), offset });
        assert_eq!(place(0xffff_ffff_8100_0123), at(0, 0x123));
        assert_eq!(place(0xffff_ffff_c000_1090), at(1, 0x90));
        assert_eq!(place(0xffff_ffff_8190_0000), None);
        assert_eq!(place(0x1000), None);
    }

    #[test]
    fn a_module_keeps_its_number_when_others_come() {
        let before = Table::read(TEXT.as_bytes(), &Table::default()).expect("reads");
        let more = format!("ffffffffb0000000 t first\t[aaa]\n{TEXT}");
        let after = Table::read(more.as_bytes(), &before).expect("reads");
        assert_eq!(after.place(0xffff_ffff_c000_1090), before.place(0xffff_ffff_c000_1090));
    }

    #[test]
    fn hidden_addresses_give_no_modules() {
        let table = Table::read("0000000000000000 T _text\n".as_bytes(), &Table::default()).expect("reads");
        assert!(table.modules.is_empty());
    }

    #[test]
    fn this_kernel_names_its_own_functions() {
        let symbols = KernelSymbols::of_this_kernel().expect("kallsyms");
        if !symbols.is_visible() {
            return; // an ordinary user sees zeros
        }
        let (name, size) = symbols.module(ModuleNumber(0)).expect("the kernel");
        assert_eq!(name, "[kernel.kallsyms]");
        assert!(size > 1 << 20, "{size}");
        assert!(symbols.symbol(ModuleNumber(0), size / 2).is_some());
    }
}
