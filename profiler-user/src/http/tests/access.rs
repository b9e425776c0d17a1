//! Who may ask and what he sees: users of the socket, tokens, pages of other sites, the audit.

use super::*;
use crate::config::TokenFile;
use crate::event::Ownership;
use crate::http::peer::{Credentials, Peer};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;

impl Site {
    /// Asks by the Unix socket, as a user of group 100.
    async fn ask_as(&self, uid: u32, uri: &str) -> Answer {
        let mut request = Request::builder().uri(uri).body(Body::empty()).expect("well formed");
        let peer = Credentials { uid, gid: 100, pid: 7, groups: vec![27] };
        request.extensions_mut().insert(Peer::Local(peer));
        self.ask(request).await
    }

    /// Asks by the network with headers.
    async fn ask_with(&self, uri: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).expect("well formed");
        request.extensions_mut().insert(Peer::Network(SocketAddr::from(([127, 0, 0, 1], 5))));
        self.ask(request).await
    }
}

/// A file of tokens.
fn tokens(folder: &tempfile::TempDir, text: &str) -> TokenFile {
    let path = folder.path().join("tokens");
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path).expect("made");
    file.write_all(text.as_bytes()).expect("written");
    TokenFile::open(&path).expect("tokens")
}

#[tokio::test]
async fn foreign_hosts_are_refused() {
    let site = Site::new();
    let ask = async |host: &str| {
        let request = Request::builder().uri("/healthz").header("host", host).body(Body::empty()).expect("well formed");
        site.ask(request).await
    };
    let refused = ask("evil.example:7060").await;
    refused.is_error(403, refused.text());
    assert_eq!(ask("localhost:7060").await.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let site = Site::new();
    let refused = site.ask_with("/", &[("host", "localhost:7060"), ("sec-fetch-site", "cross-site")]).await;
    refused.is_error(403, "Pages of other sites may not ask this agent\n");
    let refused = site.ask_with("/", &[("host", "localhost:7060"), ("origin", "http://evil.example")]).await;
    refused.is_error(403, "Pages of other sites may not ask this agent\n");
    let own = [("host", "localhost:7060"), ("sec-fetch-site", "same-origin"), ("origin", "http://localhost:7060")];
    let answer = site.ask_with("/", &own).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, ""));
}

const KINDS_OF_QUESTIONS: [&str; 6] =
    ["", "profile?seconds=20&ago=0", "profile?seconds=20&ago=0&children=1", "cmdline", "symbol?0x555555555410", "heap"];

#[tokio::test]
async fn a_user_sees_what_is_his_and_nothing_else() {
    let site = Site::new();
    for rest in KINDS_OF_QUESTIONS {
        for uri in [tree(rest), format!("/debug/pprof/{rest}{}pid={PID}", if rest.contains('?') { '&' } else { '?' })] {
            let root = site.ask_as(0, &uri).await;
            let own = site.ask_as(1000, &uri).await;
            assert_eq!(own.status, root.status, "{uri}");
            let refused = site.ask_as(1001, &uri).await;
            let wanted = format!(
                "Process {PID} is not wholly user 1001's, or has rights of its own (set-user-ID, capabilities): ask as \
                 root\n"
            );
            refused.is_error(403, &wanted);
        }
    }
    let dead = format!("/pid/{DEAD}/debug/pprof/profile?seconds=20&ago=0");
    assert_eq!(site.ask_as(1000, &dead).await.status, StatusCode::OK);
    assert_eq!(site.ask_as(1001, &dead).await.status, StatusCode::FORBIDDEN);
    assert_eq!(site.ask_as(65_534, "/").await.status, StatusCode::FORBIDDEN);
    assert_eq!(site.ask_as(65_534, "/healthz").await.status, StatusCode::OK);
    for (uri, has) in [("/api/v1/processes", PID), ("/api/v1/processes?exited=1", DEAD)] {
        let count = async |uid| {
            let answer = site.ask_as(uid, uri).await;
            let list: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            list.as_array().expect("a list").iter().filter(|one| one["pid"] == has).count()
        };
        assert_eq!((count(0).await, count(1000).await, count(1001).await), (1, 1, 0), "{uri}");
    }
    let page = async |uid| site.ask_as(uid, "/").await.text().contains("demo");
    assert!(page(0).await && page(1000).await && !page(1001).await);
    assert_eq!(site.ask_as(1001, "/metrics").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_program_with_rights_of_its_own_is_shut_to_its_user() {
    let site = Site::new();
    *site.world.processes.ownership.lock().expect("no test panics with it") = Some(Ownership::Shut);
    for rest in KINDS_OF_QUESTIONS {
        assert_eq!(site.ask_as(1000, &tree(rest)).await.status, StatusCode::FORBIDDEN, "{rest}");
    }
    assert_eq!(site.ask_as(1000, "/api/v1/processes").await.text(), "[]");
    assert_eq!(site.ask_as(0, &tree("cmdline")).await.status, StatusCode::OK);
    // Once it is gone, what is recorded counts.
    site.world.processes.exit();
    assert_eq!(site.ask_as(1000, &tree("profile?seconds=20&ago=0")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_hosts_tree_of_a_user_is_the_sum_of_his_own() {
    let site = Site::new();
    let profile = async |uid| {
        let answer = site.ask_as(uid, "/debug/pprof/profile?seconds=20&ago=0").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let profile = decode(&answer.body).expect("decodes");
        let comment = profile.string_table[usize::try_from(profile.comment[0]).expect("small")].clone();
        (profile.sample.iter().map(|sample| sample.value[0]).sum::<i64>(), comment)
    };
    let ((own, said), (all, host)) = (profile(1000).await, profile(0).await);
    assert!(own == all && own > 100, "{own} of {all}");
    assert!(said.contains("all processes of user 1000 (2 with samples)") && host.contains("the whole host"), "{said}");
    let (none, said) = profile(1001).await;
    assert!(none == 0 && said.contains("all processes of user 1001 (0 with samples)"), "{none}: {said}");
}

#[tokio::test]
async fn members_of_the_group_see_all() {
    let site = Site::with(|config| config.socket_group = Some(27));
    assert_eq!(site.ask_as(1001, &tree("cmdline")).await.status, StatusCode::OK);
    let site = Site::with(|config| config.socket_group = Some(28));
    assert_eq!(site.ask_as(1001, &tree("cmdline")).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn with_a_token_file_only_health_is_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "ops all 0123456789abcdef\nweb uid=1001 0000111122223333\nmetrics metrics fedcba9876543210\n";
    let file = Arc::new(tokens(&folder, text));
    let site = Site::with(|config| config.tokens = Some(file));
    for uri in ["/", "/metrics", "/api/v1/processes", "/nothing", "/debug/pprof", &tree("cmdline"), &tree("nosuch")] {
        for headers in [&[][..], &[("authorization", "Bearer 0123456789abcdee")], &[("authorization", "nonsense")]] {
            let answer = site.ask_with(uri, headers).await;
            answer.is_error(401, answer.text());
            assert_eq!(answer.header("www-authenticate"), "Basic realm=\"pprofd\", charset=\"UTF-8\"");
        }
    }
    for uri in ["/healthz", "/readyz"] {
        assert_eq!(site.ask_with(uri, &[]).await.status, StatusCode::OK);
    }
    let with = async |token: &str, uri: &str| {
        let bearer = site.ask_with(uri, &[("authorization", &format!("Bearer {token}"))]).await.status;
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("anybody:{token}")));
        assert_eq!(site.ask_with(uri, &[("authorization", &basic)]).await.status, bearer, "{uri}");
        bearer.as_u16()
    };
    let each = async |token: &str| {
        [with(token, "/metrics").await, with(token, "/").await, with(token, &tree("cmdline")).await]
    };
    assert_eq!(each("0123456789abcdef").await, [200, 200, 200]);
    assert_eq!(each("0000111122223333").await, [200, 200, 403]);
    assert_eq!(each("fedcba9876543210").await, [200, 403, 403]);
    // The kernel says who asks by the socket.
    assert_eq!(site.ask_as(0, &tree("cmdline")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn each_profile_is_audited() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = Arc::new(tokens(&folder, "ops all 0123456789abcdef\n"));
    let site = Site::with(|config| config.tokens = Some(file));
    let taken = site.ask_as(1000, &tree("profile?seconds=20&ago=0&hz=500")).await;
    site.ask_as(1001, &tree("cmdline")).await;
    site.ask_with(&tree("heap?seconds=1"), &[]).await;
    site.ask_with(&tree("heap"), &[("authorization", "Bearer 0123456789abcdef")]).await;
    site.ask_with(&format!("/debug/pprof/profile?seconds=999&pid={PID}"), &[("host", "evil.example")]).await;
    for uri in ["/", "/metrics", &tree(""), &tree("nosuch"), &tree("nosuch%0a%1b")] {
        site.ask_as(0, uri).await;
    }
    site.ask_as(0, "/debug/pprof/cmdline?pid=1%0a2").await;
    let lines = site.audited(6).await;
    assert_eq!(lines.len(), 6, "{lines:?}");
    let start = ticks(process());
    let wanted = serde_json::json!({
        "time": lines[0]["time"], "uid": 1000, "gid": 100, "client": 7, "process": format!("{PID}@{start}"), "comm": "demo",
        "kind": "profile", "seconds": 20, "ago": 0, "hz": 500, "status": 200, "bytes": taken.body.len(), "ms": lines[0]["ms"],
    });
    assert_eq!(lines[0], wanted);
    let of = |at: usize, name: &str| lines[at][name].clone();
    assert_eq!((of(1, "status"), of(1, "uid"), of(1, "kind")), (403.into(), 1001.into(), "cmdline".into()));
    assert_eq!(
        (of(2, "status"), of(2, "address"), of(2, "process")),
        (401.into(), "127.0.0.1:5".into(), PID.to_string().into())
    );
    assert_eq!((of(3, "status"), of(3, "token")), (501.into(), "ops".into()));
    assert_eq!((of(4, "status"), of(4, "process")), (403.into(), PID.to_string().into()));
    assert_eq!((of(5, "status"), of(5, "process")), (404.into(), "?".into()));
}

#[tokio::test]
async fn a_client_that_goes_away_is_audited_too() {
    let site = Site::new();
    let uri = tree("profile?seconds=200");
    let waits = site.ask_as(0, &uri);
    assert!(tokio::time::timeout(Duration::from_millis(50), waits).await.is_err());
    let line = site.audited(1).await.remove(0);
    assert_eq!((&line["status"], &line["seconds"], &line["bytes"]), (&499.into(), &200.into(), &0.into()), "{line}");
}
