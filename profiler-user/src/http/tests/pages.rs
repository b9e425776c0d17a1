//! The start page, the lists and the metrics.

use super::*;

#[tokio::test]
async fn processes_are_listed_and_the_dead_apart() {
    let site = Site::new();
    let list = async |uri: &str| -> serde_json::Value {
        let answer = site.get(uri).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
        serde_json::from_slice(&answer.body).expect("JSON")
    };
    let live = list("/api/v1/processes").await;
    let first = &live[0];
    assert_eq!((first["pid"].as_u64(), first["parent"].as_u64()), (Some(u64::from(PID)), Some(1)));
    assert_eq!((first["comm"].as_str(), first["uid"].as_u64()), (Some("demo"), Some(1000)));
    assert_eq!(first["start"].as_u64(), Some(ticks(process())));
    assert_eq!(first["cmdline"].as_str(), Some("/usr/bin/demo --depth 10"));
    assert!(first["cpu_share"].as_f64().expect("a number") > 0.05, "{first}");
    assert!(live.as_array().expect("a list").iter().all(|one| one["pid"] != DEAD));
    let dead = list("/api/v1/processes?exited=1").await;
    assert_eq!(dead[0]["pid"].as_u64(), Some(u64::from(DEAD)));
    assert_eq!(dead.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn the_start_page_leads_to_the_trees() {
    let site = Site::new();
    let page = site.get("/").await;
    assert!(page.text().contains("href=\"pid/4711/debug/pprof/\"") && page.text().contains("href=\"debug/pprof/\""));
    assert!(page.text().contains("children=1"), "{}", page.text());
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
}

#[tokio::test]
async fn requests_are_counted_by_route() {
    let site = Site::new();
    site.get(&tree("nosuch")).await;
    site.get("/elsewhere").await;
    let metrics = site.get("/metrics").await;
    let line = "pprofd_http_requests_total{route=\"/pid/{pid}/debug/pprof/{*name}\",status=\"404\"} 1";
    assert!(metrics.text().contains(line), "{}", metrics.text());
    assert!(metrics.text().contains("route=\"none\",status=\"404\"} 1"), "{}", metrics.text());
}
