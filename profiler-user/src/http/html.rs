//! The two pages for people: the index of a tree and the start page. No asset from elsewhere, links relative, every text
//! escaped.

use crate::kind::processes::Listed;
use crate::kind::{Answer, KINDS, Kind};
use std::fmt::Write;

const STYLE: &str = "<style>
body { font-family: sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25em .75em .25em 0; vertical-align: top; }
tr { border-bottom: 1px solid #8883; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.cut { max-width: 40em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.absent { opacity: .6; }
@media (prefers-color-scheme: dark) { body { background: #1b1b1b; color: #ddd; } a { color: #8bf; } }
</style>";

/// Replaces what HTML gives a meaning.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// The index of a tree. `subject` says whose it is; `query` is appended to each link (`pid=4711` or empty).
pub(super) fn index(subject: &str, query: &str) -> String {
    let mut page = format!(
        "<html>\n<head>\n<meta charset=\"utf-8\">\n<title>/debug/pprof/</title>\n{STYLE}\n</head>\n<body>\n\
         <h1>/debug/pprof/</h1>\n<p>{}</p>\n<p>Set debug=1 as a query parameter to export in legacy text format, \
         where a profile has one.</p>\n<h2>Types of profiles available:</h2>\n<table>\n\
         <thead><tr><th>Profile</th><th>Description</th></tr></thead>\n<tbody>\n",
        escape(subject)
    );
    for kind in KINDS {
        // Writing to a String does not fail.
        _ = writeln!(page, "{}", index_row(kind, query));
    }
    page.push_str("</tbody>\n</table>\n</body>\n</html>\n");
    page
}

fn index_row(kind: &Kind, query: &str) -> String {
    let (name, description) = (escape(kind.name), escape(kind.description));
    if !kind.works() {
        return format!(
            "<tr class=\"absent\"><td>{name}</td><td>{}. Not available in this version.</td></tr>",
            description.trim_end_matches('.')
        );
    }
    let join = if query.is_empty() { "" } else { "?" };
    let link = format!("<a href=\"{name}{join}{}\">{name}</a>", escape(query));
    let links = match kind.answer {
        Answer::Cpu => format!("{link} (30 s), {}", ago_link(kind.name, query)),
        _ => link,
    };
    format!("<tr><td>{links}</td><td>{description}</td></tr>")
}

fn ago_link(name: &str, query: &str) -> String {
    let join = if query.is_empty() { "" } else { "&" };
    let target = escape(&format!("{name}?seconds=60&ago=0{join}{query}"));
    format!("<a href=\"{target}\">last minute</a>")
}

/// The start page: the host and the processes, the busiest first.
pub(super) fn start_page(processes: &[Listed], shown: usize) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>pprofd</title>\n{STYLE}\n\
         </head>\n<body>\n<h1>pprofd</h1>\n<p>Profiles of every process of this host, for <code>go tool pprof</code>. With \
         <code>children=1</code> the profile of a process sums all that descend from it too: ask so for the master of a \
         server, a shell or a build.</p>\n\
         <ul>\n<li><a href=\"debug/pprof/\">the whole host</a></li>\n\
         <li><a href=\"api/v1/processes\">processes as JSON</a>, <a href=\"api/v1/processes?exited=1\">those that \
         exited</a></li>\n<li><a href=\"metrics\">metrics</a></li>\n</ul>\n<h2>Processes</h2>\n<table>\n\
         <thead><tr><th class=\"number\">CPU, last minute</th><th class=\"number\">PID</th><th>Name</th>\
         <th>Command line</th><th>Profile</th></tr></thead>\n<tbody>\n"
    );
    for process in processes.iter().take(shown) {
        _ = writeln!(page, "{}", process_row(process));
    }
    page.push_str("</tbody>\n</table>\n");
    if let Some(more) = processes.len().checked_sub(shown).filter(|more| *more > 0) {
        _ = writeln!(page, "<p>And {more} more, in the JSON list.</p>");
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn process_row(process: &Listed) -> String {
    let tree = format!("pid/{}/debug/pprof/", process.pid);
    format!(
        "<tr><td class=\"number\">{}</td><td class=\"number\">{}</td><td><a href=\"{tree}\">{}</a></td>\
         <td class=\"cut\">{}</td><td><a href=\"{tree}profile?seconds=10\">10 s</a></td></tr>",
        process.cpu_share.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0)),
        process.pid,
        escape(&process.comm),
        escape(&process.cmdline)
    )
}
