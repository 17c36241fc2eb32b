//! Forwarded commands that arrive again, late: what a network may do that a connection between two running nodes cannot,
//! because it keeps their order. They must do nothing, whether their session has ended meanwhile or not.

use std::sync::Arc;
use std::time::Duration;

use aerodb_engine::{Limits, prepare};
use aerodb_proto as proto;
use aerodb_raft::Connector as _;
use hyper_util::rt::TokioIo;
use proto::peer_client::PeerClient;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};
use tonic::transport::{Endpoint, Uri};

use crate::client::COLLECTIONS;
use crate::node::PORT;
use crate::plan::name;
use crate::seams::SimConnector;
use crate::world::World;

/// How long an answer is waited for. There need not be one.
const PATIENCE: Duration = Duration::from_millis(500);

/// Lets commands come again until the world is healed.
pub async fn work(world: Arc<World>) {
    let mut rng = SmallRng::seed_from_u64(world.plan.seed.wrapping_mul(15_485_863));
    while !*world.healed.lock() {
        let pause = rng.random_range(50..600);
        sleep(Duration::from_millis(pause)).await;
        let place = rng.random();
        let (leadership, done) = {
            let checker = world.checker.lock();
            (checker.leadership(), checker.canon.done_before(place))
        };
        let (Some((leader, term)), Some((session, number, over))) = (leadership, done) else { continue };
        // A first attempt comes before all others of its number, or with a session that has ended.
        let attempt = if over { rng.random_range(1..3) } else { 2 };
        let from = (1..=world.plan.nodes).find(|id| *id != leader).unwrap_or(leader);
        let target = Some(proto::Target { to: leader, from, ..Default::default() });
        let command = prost::Message::encode_to_vec(&command(number)).into();
        let command = proto::ForwardedCommand { session, number, attempt, term, command, ..Default::default() };
        let request = proto::ForwardRequest { target, commands: vec![command] };
        if timeout(PATIENCE, send(leader, request)).await.is_ok_and(|sent| sent.is_some()) {
            world.checker.lock().coverage.echoes += 1;
        }
    }
}

/// Sends a request over a connection of its own. Gives the answer, if there is one.
async fn send(leader: u64, request: proto::ForwardRequest) -> Option<proto::ForwardResponse> {
    let connect = tower::service_fn(move |_: Uri| {
        let connecting = SimConnector.connect(&format!("{}:{PORT}", name(leader)));
        async move { connecting.await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://echo").connect_with_connector_lazy(connect);
    // The stream of requests stays open: its end would be the end of the answers too.
    let requests = futures::StreamExt::chain(futures::stream::iter([request]), futures::stream::pending());
    let answers = PeerClient::new(channel).forward(requests).await.ok()?;
    answers.into_inner().message().await.ok()?
}

/// A command that nobody asked for: if it takes effect, everybody sees it.
fn command(number: u64) -> proto::Command {
    let body = format!(r#"{{"echo":{number}}}"#);
    let document = prepare::put("echo", body.as_bytes(), &Limits::default()).ok();
    let op = proto::PutDocument { collection: COLLECTIONS[0].0.to_owned(), document, ..Default::default() };
    let caller = Some(proto::Caller { key_id: aerodb_engine::view::api_key_id(crate::node::SERVICE_KEY) });
    proto::Command { caller, op: Some(proto::command::Op::Put(op)), ..Default::default() }
}
