//! The pprof trees: Go's statuses, headers and bodies.

use super::*;
use crate::kind::Kind;

#[tokio::test]
async fn the_index_lists_all_names_with_relative_links() {
    let site = Site::new();
    for uri in [tree(""), "/debug/pprof/".to_owned(), format!("/debug/pprof/?pid={PID}")] {
        let index = site.get(&uri).await;
        assert_eq!((index.status.as_u16(), index.header("content-type")), (200, "text/html; charset=utf-8"));
        let page = index.text();
        assert!(page.contains("Types of profiles available:") && page.contains("<h1>/debug/pprof/</h1>"));
        for kind in crate::kind::KINDS {
            assert!(page.contains(&format!("<td>{}</td>", kind.name)) || page.contains(&format!("{}</a>", kind.name)));
            assert_eq!(page.contains(&format!("href=\"{}", kind.name)), kind.works(), "{}", kind.name);
        }
        assert!(!page.contains("href=\"/") && !page.contains("http"), "{page}");
        assert_eq!(page.contains("pid=4711"), uri.contains('?'));
        assert!(!page.contains(".."), "{page}");
        let is_named = page.contains("process 4711 (demo: /usr/bin/demo --depth 10). With children=1");
        assert_eq!(is_named, uri.contains("4711"), "{page}");
    }
}

#[tokio::test]
async fn the_tree_without_slash_redirects() {
    let site = Site::new();
    for uri in ["/debug/pprof".to_owned(), format!("/pid/{PID}/debug/pprof")] {
        let answer = site.get(&format!("{uri}?pid=1")).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (307, "../debug/pprof/?pid=1"));
    }
    let answer = site.get("/debug/pprof//symbol?0x1").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (307, "/debug/pprof/symbol?0x1"));
}

#[tokio::test]
async fn unknown_names_are_not_echoed() {
    let site = Site::new();
    for name in ["nosuch", "nosuch?seconds=1", "%3Cscript%3E", "heap/", "profile/", "%ff", "%zz", "nosuch?seconds=x"] {
        site.get(&tree(name)).await.is_error(404, UNKNOWN);
        site.get(&format!("/debug/pprof/{name}")).await.is_error(404, UNKNOWN);
    }
    let nothing = site.get("/debug").await;
    assert_eq!((nothing.status.as_u16(), nothing.header("x-go-pprof")), (404, ""));
}

#[tokio::test]
async fn kinds_of_later_check_their_parameters_and_say_what_is_missing() {
    let site = Site::new();
    for name in ["allocs", "block", "heap", "mutex"] {
        for seconds in ["0", "-1", "x", "1.5"] {
            let wanted = "invalid value for \"seconds\" - must be a positive integer\n";
            site.get(&tree(&format!("{name}?seconds={seconds}"))).await.is_error(400, wanted);
        }
        let both = "seconds and debug params are incompatible\n";
        site.get(&tree(&format!("{name}?seconds=1&debug=1"))).await.is_error(400, both);
        for fine in ["", "?seconds=", "?seconds=1", "?debug=1", "?seconds=1&debug=x"] {
            if Kind::find(name).is_some_and(Kind::works) {
                continue;
            }
            let answer = site.get(&tree(&format!("{name}{fine}"))).await;
            assert!(answer.text().starts_with(&format!("This version of pprofd has no {name} profile yet")));
            answer.is_error(501, answer.text());
        }
    }
    let trace = site.get(&tree("trace?seconds=x")).await;
    trace.is_error(501, trace.text());
}

#[tokio::test]
async fn methods() {
    let site = Site::new();
    for name in ["", "heap", "profile", "cmdline", "nosuch"] {
        for method in [Method::PUT, Method::DELETE, Method::POST, Method::OPTIONS] {
            let answer = site.send(method, &tree(name), "").await;
            assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, GET_HEAD), "{name}");
            assert_eq!((answer.text(), answer.header("x-go-pprof")), ("Method Not Allowed\n", ""));
        }
    }
    assert_eq!(site.send(Method::PUT, &tree("symbol"), "").await.header("allow"), "GET, HEAD, POST");
    assert_eq!(site.send(Method::POST, "/debug/pprof", "").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn head_has_the_headers_of_get() {
    let site = Site::new();
    for name in ["", "cmdline", "symbol", "profile?seconds=20&ago=0"] {
        let (get, head) = (site.get(&tree(name)).await, site.send(Method::HEAD, &tree(name), "").await);
        assert_eq!((head.status, head.body.len()), (get.status, 0));
        for header in ["content-type", "content-disposition"] {
            assert_eq!(head.header(header), get.header(header));
        }
        assert!(head.header("content-length").parse::<usize>().expect("a length") > 0);
    }
}

#[tokio::test]
async fn a_profile_is_an_attachment_that_strict_readers_accept() {
    let site = Site::new();
    for uri in [
        tree("profile?seconds=20&ago=0"),
        tree("profile?foo=1&seconds=20&seconds=9&ago=0&debug=1"),
        format!("/pid/{PID}@{}/debug/pprof/profile?seconds=20&ago=0", ticks(process())),
        format!("/debug/pprof/profile?pid={PID}&seconds=20&ago=0"),
        "/debug/pprof/profile?seconds=20&ago=0&kernel=0".to_owned(),
    ] {
        let answer = site.get(&uri).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/octet-stream"), "{uri}");
        assert_eq!(answer.header("content-disposition"), "attachment; filename=\"profile\"");
        assert_eq!(answer.body.get(..2), Some(&[0x1f, 0x8b][..]));
        let profile = decode(&answer.body).expect("decodes");
        assert_eq!(check_strict(&profile), Vec::<String>::new());
        assert!(!profile.sample.is_empty(), "{uri}");
    }
}

#[tokio::test]
async fn profiles_of_nobody_are_404_with_a_sentence() {
    let site = Site::new();
    let gone = "process 99 does not exist and nothing of it is recorded\n";
    for name in ["", "profile", "profile?ago=1", "cmdline", "symbol", "heap"] {
        site.get(&format!("/pid/99/debug/pprof/{name}")).await.is_error(404, gone);
    }
    site.get("/debug/pprof/profile?pid=99").await.is_error(404, gone);
    let other = format!("process {PID}@1 does not exist and nothing of it is recorded\n");
    site.get(&format!("/pid/{PID}@1/debug/pprof/profile")).await.is_error(404, &other);
    let answer = site.get("/pid/self/debug/pprof/profile").await;
    answer.is_error(404, answer.text());
    let dead = format!("process {DEAD} has exited; ago=SECONDS asks for what is recorded of it\n");
    site.get(&format!("/pid/{DEAD}/debug/pprof/profile?seconds=1")).await.is_error(404, &dead);
    assert_eq!(site.get(&format!("/pid/{DEAD}/debug/pprof/profile?seconds=20&ago=0")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn bad_parameters_of_ours_are_400() {
    let site = Site::new();
    for bad in ["hz=0", "hz=1000", "kernel=yes", "ago=x", "seconds=301"] {
        let answer = site.get(&tree(&format!("profile?{bad}"))).await;
        answer.is_error(400, answer.text());
    }
}

#[tokio::test]
async fn cmdline_joins_by_nul_and_ends_without() {
    let site = Site::new();
    let answer = site.get(&tree("cmdline")).await;
    assert_eq!(
        (answer.text(), answer.header("content-type")),
        ("/usr/bin/demo\0--depth\x0010", "text/plain; charset=utf-8")
    );
    let dead = format!("process {DEAD} has exited, and its command line is not recorded\n");
    site.get(&format!("/pid/{DEAD}/debug/pprof/cmdline")).await.is_error(404, &dead);
}

#[tokio::test]
async fn symbol_answers_real_addresses() {
    let site = Site::new();
    let main = 0x5555_5555_5410_u64;
    let line = format!("{main:#x} main\n");
    let check = async |question: &str, wanted: &str| {
        let wanted = format!("num_symbols: 1\n{wanted}");
        let get = site.get(&tree(&format!("symbol?{question}"))).await;
        assert_eq!((get.status.as_u16(), get.text()), (200, wanted.as_str()), "{question}");
        assert_eq!(get.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(site.send(Method::POST, &tree("symbol"), question).await.text(), wanted);
    };
    check("", "").await;
    check("debug=1", "").await;
    check(&format!("{main:#x}"), &line).await;
    check(&format!("{main}"), &line).await;
    check(&format!("zz+0x1+{main:#x}+"), &line).await;
    check(&format!("0x7ffff7c28010+{main:#x}"), &format!("0x7ffff7c28010 memcpy\n{line}")).await;
    assert_eq!(site.get("/debug/pprof/symbol?0x555555555410").await.text(), "num_symbols: 0\n");
}

#[tokio::test]
async fn symbol_answers_addresses_of_profiles_that_were_handed_out() {
    let site = Site::new();
    let base = format!("/pid/{DEAD}/debug/pprof");
    let profile = decode(&site.get(&format!("{base}/profile?seconds=20&ago=0")).await.body).expect("decodes");
    let name = |id: u64| {
        let function = &profile.function[usize::try_from(id).expect("small") - 1];
        profile.string_table[usize::try_from(function.name).expect("small")].as_str()
    };
    assert!(!profile.location.is_empty());
    for location in &profile.location {
        let answer = site.get(&format!("{base}/symbol?{:#x}", location.address)).await;
        let wanted = format!("num_symbols: 1\n{:#x} {}\n", location.address, name(location.line[0].function_id));
        assert_eq!(answer.text(), wanted);
    }
}

#[tokio::test]
async fn a_bug_costs_its_own_request() {
    let site = Site::new();
    site.world.files.panics.store(true, Ordering::SeqCst);
    let answer = site.get(&tree("symbol?0x555555555410")).await;
    answer.is_error(500, answer.text());
    site.world.files.panics.store(false, Ordering::SeqCst);
    assert_eq!(site.get(&tree("symbol?0x555555555410")).await.text(), "num_symbols: 1\n0x555555555410 main\n");
}
