//! What somebody else must give, because nothing is opened here.

/// Something that is given, or settled as absent.
#[derive(Debug, Default)]
pub(super) enum Given<T> {
    /// It can be asked for.
    #[default]
    NotYet,
    /// There is none, or none that fits.
    Absent,
    /// It was given.
    Here(T),
}

impl<T> Given<T> {
    pub(super) fn is_known(&self) -> bool {
        !matches!(self, Given::NotYet)
    }

    pub(super) fn here(&self) -> Option<&T> {
        if let Given::Here(it) = self { Some(it) } else { None }
    }

    /// It will not be given, if it was not.
    pub(super) fn settle(&mut self) {
        if !self.is_known() {
            *self = Given::Absent;
        }
    }
}
