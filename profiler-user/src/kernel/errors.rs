//! What can go wrong between the agent and the kernel.

use aya::maps::MapError;
use std::error::Error;
use std::io;

/// An error of `kernel/`.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel's type information lacks something.
    #[error(
        "the kernel's BTF has no {0}: this kernel is older than 6.1, or changed that structure; please report it with the output of `pprofd doctor`"
    )]
    Btf(String),
    /// /sys/kernel/btf/vmlinux cannot be read.
    #[error("cannot read /sys/kernel/btf/vmlinux (kernel without CONFIG_DEBUG_INFO_BTF?)")]
    BtfFile(#[source] io::Error),
    /// The object was refused.
    #[error("cannot load the BPF object")]
    Load(#[source] Box<aya::EbpfError>),
    /// A program was refused.
    #[error("the kernel refused the BPF program `{program}`")]
    Program {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// A map operation failed.
    #[error("cannot {action} the BPF map `{map}`")]
    Map {
        /// What was tried.
        action: &'static str,
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: Box<aya::maps::MapError>,
    },
    /// The object lacks a map or program that this version needs.
    #[error("the BPF object has no `{0}`: it does not belong to this version")]
    Missing(&'static str),
    /// Memory for unwind tables must be described as the object describes it, and the description is out of reach.
    #[error(
        "this kernel (older than 6.2?) wants CAP_SYS_ADMIN for the memory of unwind tables: add it, or run as root"
    )]
    PlainPool(#[source] Box<KernelError>),
    /// An iterator failed.
    #[error("cannot {action} the iterator over {over}")]
    Iterator {
        /// What was tried.
        action: &'static str,
        /// What it lists.
        over: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A system call failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl KernelError {
    /// The verifier read a program and did not like it.
    pub fn is_verifiers(&self) -> bool {
        let log = match self {
            KernelError::Program { source, .. } => match source.as_ref() {
                aya::programs::ProgramError::LoadError { verifier_log, .. } => verifier_log.to_string(),
                _ => String::new(),
            },
            _ => String::new(),
        };
        !log.trim().is_empty()
    }

    /// The kernel says that the agent may not.
    pub fn is_permission(&self) -> bool {
        let causes = std::iter::successors(self.source(), |cause| (*cause).source());
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).any(denied)
    }

    /// The process that an iterator was to be about is gone.
    pub(super) fn is_no_such_process(&self) -> bool {
        matches!(self, KernelError::Iterator { source, .. } if source.raw_os_error() == Some(libc::ESRCH))
    }

    pub(super) fn map(action: &'static str, map: &'static str) -> impl FnOnce(aya::maps::MapError) -> KernelError {
        move |source| KernelError::Map { action, map, source: Box::new(source) }
    }

    pub(super) fn program(program: &'static str) -> impl FnOnce(aya::programs::ProgramError) -> KernelError {
        move |source| KernelError::Program { program, source: Box::new(source) }
    }

    pub(super) fn system(action: &'static str) -> impl FnOnce(io::Error) -> KernelError {
        move |source| KernelError::System { action, source }
    }
}

/// What came of a removal; what is not there any more counts as removed.
pub(super) fn removed(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
