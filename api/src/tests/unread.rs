//! A client that takes nothing of its answer is cut off in the end, and what its answer held is free again.

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::serve::{Door, serve_for};

const UNREAD: Duration = Duration::from_secs(1);

/// Parts without an end, for as long as somebody takes them. Tells when nobody does any more.
fn routes_without_end(gone: mpsc::UnboundedSender<()>) -> Router<ApiState> {
    struct Tell(mpsc::UnboundedSender<()>);
    impl Drop for Tell {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let answer = move || {
        let tell = Tell(gone.clone());
        let parts = futures::stream::repeat_with(move || {
            let _ = &tell;
            Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b'x'; 4_096]))
        });
        std::future::ready(Body::from_stream(parts))
    };
    Router::new().route("/test/endless", get(answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_is_cut_off_and_who_takes_a_little_is_not() {
    let (gone, mut is_gone) = mpsc::unbounded_channel();
    let api = Api::with(ApiOptions::default(), Limits::default(), routes_without_end(gone)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let door = Door::new(api.service.clone());
    let serving = tokio::spawn(serve_for(listener, door, shutdown.clone(), Duration::ZERO, UNREAD));
    let ask = || async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET /test/endless HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        stream
    };
    let mut slow = ask().await;
    let silent = ask().await;
    let mut part = vec![0; 1 << 20];
    let began = std::time::Instant::now();
    let cut_off = async {
        loop {
            tokio::select! {
                gone = is_gone.recv() => return gone,
                read = slow.read_exact(&mut part) => drop(read.expect("it takes what it is sent")),
            }
            // As fast as it pleases.
            tokio::time::sleep(UNREAD / 10).await;
        }
    };
    timeout(PATIENCE, cut_off).await.expect("one is cut off").expect("the routes are there");
    assert!(began.elapsed() >= UNREAD, "{:?}", began.elapsed());
    slow.read_exact(&mut part).await.expect("it is the other one");
    drop((slow, silent));
    timeout(PATIENCE, is_gone.recv()).await.expect("both are gone");
    shutdown.cancel();
    serving.await.unwrap().unwrap();
    api.end().await;
}
