//! What a profile of threads says about itself.

use super::{Found, ran};
use crate::kind::comments::complete_stacks;
use crate::kind::subject::Subject;
use crate::kind::viewer::Viewer;
use crate::record::window::Row;
use std::collections::BTreeSet;

/// One sentence a comment.
pub(super) fn sentences(subject: &Subject, viewer: Viewer, found: &Found, rows: &[Row]) -> Vec<String> {
    let mut list = vec![source(subject, viewer, found), instants(found)];
    list.extend(complete_stacks(rows));
    if found.failed > 0 {
        list.push(format!("{} processes could not be looked at.", found.failed));
    }
    list
}

fn source(subject: &Subject, viewer: Viewer, found: &Found) -> String {
    let count = found.threads.len();
    let processes = found.threads.iter().map(|thread| thread.seen.image.process).collect::<BTreeSet<_>>().len();
    let whose = match (subject, viewer) {
        (Subject::Process(known), _) => format!("process {}", known.id.pid),
        (Subject::Host, Viewer::All) => format!("{processes} processes of the host"),
        (Subject::Host, Viewer::User(uid)) => format!("{processes} processes of user {uid}"),
    };
    format!(
        "pprofd: {count} threads of {whose} as they stood; none was stopped. Of a Go program these are its threads, not its goroutines."
    )
}

/// What is of another instant than the rest.
fn instants(found: &Found) -> String {
    let lost = found.threads.iter().filter(|thread| ran(thread)).count();
    let caught = found.caught.len();
    let lost = if lost == 0 { String::new() } else { format!("; {lost} ran all the time and no sample caught them") };
    format!(
        "Threads that slept are shown where they stood; {caught} ran and are shown where a sample caught them within 0.2 s{lost}."
    )
}
