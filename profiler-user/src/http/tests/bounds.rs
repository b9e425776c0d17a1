//! Limits, each refused with a sentence.

use super::*;

#[tokio::test]
async fn a_question_over_the_limit_is_refused() {
    let site = Site::new();
    let answer = site.send(Method::POST, &tree("symbol"), &"0x1+".repeat(MAX_BODY / 4 + 1)).await;
    answer.is_error(413, answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_refused_and_abandoned_ones_free_their_place() {
    let site = Site::with_requests(1);
    let open = tokio::spawn({
        let router = site.router.clone();
        let request = Request::builder().uri(tree("profile?seconds=200")).body(Body::empty()).expect("well formed");
        async move { router.oneshot(request).await }
    });
    let watched = async {
        while site.world.rates.of(PID).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), watched).await.expect("the request begins");
    let refused = site.get(&tree("cmdline")).await;
    refused.is_error(503, refused.text());
    assert_eq!(refused.header("retry-after"), "5");
    assert_eq!(site.get("/healthz").await.status, StatusCode::OK);
    open.abort();
    assert!(open.await.is_err());
    assert_eq!(site.get(&tree("cmdline")).await.status, StatusCode::OK);
    assert_eq!(site.world.rates.of(PID), None);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let site = Site::new();
    let with = async |headers: usize, length: usize| {
        let mut request = Request::builder().uri("/healthz");
        for i in 0..headers {
            request = request.header(format!("x-{i}"), "a".repeat(length));
        }
        site.ask(request.body(Body::empty()).expect("well formed")).await
    };
    assert_eq!(with(90, 10).await.status, StatusCode::OK);
    assert_eq!(with(1, 15 << 10).await.status, StatusCode::OK);
    let wanted = "The head of a request may have 100 headers and 16 KiB\n";
    with(101, 1).await.is_error(431, wanted);
    with(1, 16 << 10).await.is_error(431, wanted);
    site.get(&format!("/healthz?{}", "a".repeat(17 << 10))).await.is_error(431, wanted);
}

#[tokio::test]
async fn a_body_that_is_announced_too_long_is_refused_unread() {
    let site = Site::new();
    let request = Request::builder().method(Method::POST).uri("/").header("content-length", (MAX_BODY + 1).to_string());
    let answer = site.ask(request.body(Body::empty()).expect("well formed")).await;
    answer.is_error(413, "The body of a request may have 1 MiB\n");
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_refused() {
    let site = Site::with(|config| config.max_response = 64);
    for uri in [tree("profile?seconds=20&ago=0"), "/api/v1/processes".to_owned(), "/".to_owned()] {
        let text = "The answer would have more than 64 (--max-response); ask for fewer seconds or samples, or for one \
                    process\n";
        site.get(&uri).await.is_error(422, text);
    }
    assert_eq!(site.get(&tree("cmdline")).await.status, StatusCode::OK);
}

/// An answer counts until its last byte is taken or it is given up, and then no longer.
#[tokio::test]
async fn answers_that_nobody_fetches_take_room() {
    let site = Site::with(|config| config.max_response = 64 << 10);
    let ask = async |uri: &str| {
        let request = Request::builder().uri(uri).body(Body::empty()).expect("well formed");
        site.router.clone().oneshot(request).await.expect("the router is infallible")
    };
    let mut waiting = Vec::new();
    let refused = loop {
        let answer = ask(&tree("cmdline")).await;
        if answer.status() != StatusCode::OK {
            break answer;
        }
        waiting.push(answer);
        assert!(waiting.len() < 1000, "each takes a KiB of 64");
    };
    assert_eq!((refused.status(), waiting.len()), (StatusCode::SERVICE_UNAVAILABLE, 64));
    let in_flight = async || {
        let metrics = site.get("/metrics").await.text().to_owned();
        let line = metrics.lines().find_map(|line| line.strip_prefix("pprofd_http_in_flight_requests "));
        line.and_then(|count| count.parse::<u64>().ok()).expect("the gauge")
    };
    assert_eq!(in_flight().await, 64);
    drop(waiting.pop());
    assert_eq!(ask(&tree("cmdline")).await.status(), StatusCode::OK);
    drop((waiting, refused));
    assert_eq!(in_flight().await, 0);
}
