//! What all targets share: they count what their parsers accept, and can have a bug planted behind them.

use profiler_user::fuzzing::bundle::MARK;
use profiler_user::fuzzing::{Target, target};
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::{fs, io};

/// A folder to which seeds are written.
const SEEDS: &str = "PPROFD_FUZZ_SEEDS";
/// A folder of program files of which seeds are made.
const PROGRAMS: &str = "PPROFD_FUZZ_PROGRAMS";
/// Folders, with `:` between them, of inputs that do not meet the planted bug, which is there if this is set.
const PLANTED: &str = "PPROFD_FUZZ_PLANTED";
/// One in so many results meets it.
const RARE: u64 = 128;

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

struct State {
    target: Target,
    planted: Option<Planted>,
    inputs: u64,
    accepted: u64,
}

/// Before the first input: writes a target's seeds, if a folder for them is named.
pub fn start(name: &str) {
    let target = target(name).unwrap_or_else(|| panic!("{name} is in no list of targets"));
    if let Some(folder) = std::env::var_os(SEEDS) {
        seeds(target, Path::new(&folder)).unwrap_or_else(|error| panic!("cannot write seeds to {folder:?}: {error}"));
    }
    let planted = std::env::var(PLANTED).ok().map(|folders| Planted::new(target, &folders));
    STATE.set(Some(State { target, planted, inputs: 0, accepted: 0 }));
}

/// Gives an input to the target. At the end of the process it says how many there were.
pub fn run(input: &[u8]) {
    STATE.with_borrow_mut(|state| state.iter_mut().for_each(|state| state.run(input)));
}

/// What our own code writes, and what is made of programs.
fn seeds(target: Target, folder: &Path) -> io::Result<()> {
    for (index, seed) in (target.seeds)().into_iter().enumerate() {
        fs::write(folder.join(format!("made-{index}")), seed)?;
    }
    let Some(programs) = std::env::var_os(PROGRAMS) else { return Ok(()) };
    for program in fs::read_dir(programs)? {
        let path = program?.path();
        let name = path.file_name().unwrap_or_default();
        let Some(mut seed) = (target.of_program)(&fs::read(&path)?) else { continue };
        // What the compiler split off goes into the same input, if that is made of pieces.
        if let Ok(split) = fs::read(path.with_extension("dwo"))
            && seed.starts_with(MARK)
        {
            seed.extend((target.of_program)(&split).unwrap_or_default());
        }
        fs::write(folder.join(name), seed)?;
    }
    Ok(())
}

impl State {
    fn run(&mut self, input: &[u8]) {
        let mut found = false;
        (self.target.run)(input, &mut |what| {
            found = true;
            if let Some(planted) = &self.planted {
                planted.meet(what);
            }
        });
        self.inputs += 1;
        self.accepted += u64::from(found);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        eprintln!("accepted {} of {} inputs", self.accepted, self.inputs);
    }
}

/// A bug behind a parser, for results that are rare and that no input from which fuzzing starts has.
struct Planted {
    known: HashSet<u64>,
}

impl Planted {
    fn new(target: Target, folders: &str) -> Planted {
        let mut known = HashSet::new();
        for entry in folders.split(':').filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
            let input = fs::read(entry.path()).unwrap_or_default();
            (target.run)(&input, &mut |found| {
                known.insert(digest(found));
            });
        }
        Planted { known }
    }

    fn meet(&self, found: &dyn Debug) {
        let digest = digest(found);
        assert!(digest % RARE != 0 || self.known.contains(&digest), "the planted bug");
    }
}

fn digest(found: &dyn Debug) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{found:?}").hash(&mut hasher);
    hasher.finish()
}
