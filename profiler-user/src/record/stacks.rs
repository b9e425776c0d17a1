//! Interned stacks: slices of one arena of frame words. Stacks are what targets make them, so the index hashes with a
//! secret key and a stack that meets another's hash is stored again rather than searched for.

use crate::event::FrameWord;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Stacks by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Stacks {
    words: Vec<FrameWord>,
    /// Where each stack ends in `words`; it begins where the one before ends.
    ends: Vec<u32>,
}

impl Stacks {
    /// The frames of a stack, leaf first.
    pub(super) fn get(&self, stack: u32) -> Option<&[FrameWord]> {
        let index = stack as usize;
        let start = index.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.words.get(start as usize..*self.ends.get(index)? as usize)
    }

    /// Distinct stacks (near enough: see the first lines).
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Number of an equal stack, or of a new one; `None` if 32 bits do not count the words.
    pub(super) fn intern(&mut self, index: Option<&mut StackIndex>, frames: &[FrameWord]) -> Option<u32> {
        let Some(index) = index else { return self.add(frames) };
        let hash = index.keys.hash_one(frames);
        match index.by_hash.get(&hash) {
            Some(stack) if self.get(*stack) == Some(frames) => Some(*stack),
            Some(_) => self.add(frames),
            None => {
                let stack = self.add(frames)?;
                index.by_hash.insert(hash, stack);
                Some(stack)
            }
        }
    }

    fn add(&mut self, frames: &[FrameWord]) -> Option<u32> {
        let stack = u32::try_from(self.ends.len()).ok()?;
        let end = u32::try_from(self.words.len().checked_add(frames.len())?).ok()?;
        self.words.extend_from_slice(frames);
        self.ends.push(end);
        Some(stack)
    }

    /// Bytes taken.
    pub(super) fn bytes(&self) -> u64 {
        (self.words.capacity() * size_of::<FrameWord>() + self.ends.capacity() * size_of::<u32>()) as u64
    }

    /// Gives back what growth took in advance.
    pub(super) fn shrink(&mut self) {
        self.words.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

/// Finds equal stacks while a block is young.
#[derive(Default)]
pub(super) struct StackIndex {
    keys: RandomState,
    by_hash: HashMap<u64, u32>,
}

impl StackIndex {
    /// Bytes taken.
    pub(super) fn bytes(&self) -> u64 {
        (self.by_hash.capacity() * (size_of::<(u64, u32)>() + 1)) as u64
    }
}
