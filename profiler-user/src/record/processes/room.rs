//! What the table forgets to stay within its budgets of processes and bytes.

use super::{Entry, Processes};

impl Processes {
    /// Forgets the oldest dead if the table is full: some at a time, so that a storm of forks does not search each time.
    pub(super) fn make_room(&mut self) -> bool {
        if self.known.len() < self.most {
            return true;
        }
        let forgotten = self.forget_dead((self.most / 16).max(1));
        self.refused += forgotten.max(1) as u64;
        forgotten > 0
    }

    /// Forgets so many of the dead at most, those that died first; how many it were.
    fn forget_dead(&mut self, most: usize) -> usize {
        let mut dead: Vec<_> = self.known.iter().filter_map(|(id, entry)| Some((entry.info.exited?, *id))).collect();
        dead.sort_unstable();
        dead.truncate(most);
        for (_, id) in &dead {
            self.known.remove(id);
        }
        dead.len()
    }

    /// Keeps the table within so many bytes: first the dead go, then what the living were before their last exec, then the
    /// paths of their programs, the longest first.
    pub(in crate::record) fn fit(&mut self, budget: u64) {
        while self.table_bytes() > budget {
            let forgotten = self.forget_dead((self.known.len() / 16).max(1));
            self.refused += forgotten as u64;
            if forgotten == 0 {
                self.known.values_mut().for_each(Entry::forget_images);
                return self.fit_paths(budget);
            }
        }
    }

    fn fit_paths(&mut self, budget: u64) {
        for longest in [1_024, 256, 128, 64, 0] {
            if self.table_bytes() <= budget {
                return;
            }
            let forgotten = self.known.values_mut().filter_map(|entry| entry.forget_path(longest)).count();
            self.forgotten_paths += forgotten as u64;
        }
    }
}
