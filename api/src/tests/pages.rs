//! Pages are bounded by bytes, and nothing is left out in silence.

use super::*;

/// A node whose pages end after about 4 KiB, with 60 versions of one document of 1 KiB.
async fn sixty() -> (Api, u64) {
    let limits = Limits { page_bytes_max: 4 << 10, ..Limits::default() };
    let api = Api::with(ApiOptions::default(), limits, Router::new()).await;
    api.create("c").await;
    let mut last = 0;
    for n in 0..60 {
        last = api.write(Method::PUT, "/api/c/a", format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(1_024))).await;
    }
    (api, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn history_comes_in_pages() {
    let (api, last) = sixty().await;
    let (mut path, mut found, mut pages) = ("/api/c/a/_history".to_owned(), Vec::new(), 0);
    loop {
        let page = api.get(&path).await;
        let body = page.json();
        assert_eq!((page.status.as_u16(), body["revision"].as_u64()), (200, Some(last)), "{body}");
        assert_eq!(page.header("aerodb-revision"), last.to_string());
        assert!(page.body.len() < 8 << 10, "{} bytes", page.body.len());
        found.extend(body["items"].as_array().unwrap().iter().map(|item| item["document"]["n"].as_u64().unwrap()));
        pages += 1;
        // What is written meanwhile is not in it.
        api.write(Method::PATCH, "/api/c/a", format!(r#"{{"n":{}}}"#, 1_000 + pages)).await;
        let Some(cursor) = body["next_cursor"].as_str() else { break };
        path = format!("/api/c/a/_history?cursor={cursor}");
    }
    assert_eq!(found, (0..60).collect::<Vec<_>>());
    assert!(pages > 10, "{pages}");

    let two = api.get("/api/c/a/_history?limit=2").await.json();
    assert_eq!(two["items"].as_array().unwrap().len(), 2);
    let cursor = two["next_cursor"].as_str().unwrap();
    api.get(&format!("/api/c/b/_history?cursor={cursor}")).await.refused(400, "invalid_cursor");
    api.get(&format!("/api/c?cursor={cursor}")).await.refused(400, "invalid_cursor");
    api.get("/api/c/a/_history?limit=1001").await.refused(400, "invalid_parameter");
    api.get("/api/c/b/_history").await.refused(404, "not_found");
    api.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_goes_on_with_the_next_page() {
    let (api, last) = sixty().await;
    let feed = async |query: &str| {
        let answer = api.get(&format!("/api/c/_changes?{query}")).await;
        let lines = String::from_utf8(answer.body.to_vec()).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let check = |lines: &[Value], from: u64, count: usize, more: bool| {
        let (mark, changes) = lines.split_last().unwrap();
        let revisions: Vec<u64> = changes.iter().map(|change| change["revision"].as_u64().unwrap()).collect();
        assert_eq!(revisions, (from..from + count as u64).collect::<Vec<_>>());
        assert_eq!((&mark["type"], &mark["revision"]), (&"bookmark".into(), &(from + count as u64 - 1).into()));
        assert_eq!(mark["more"], more, "{mark}");
    };
    let first = last - 59;
    check(&feed("since=0").await, first, 60, false);
    check(&feed("since=0&limit=30").await, first, 30, true);
    check(&feed(&format!("since={}&limit=30", last - 30)).await, last - 29, 30, false);
    check(&feed("since=0&limit=1000").await, first, 60, false);
    api.end().await;
}
