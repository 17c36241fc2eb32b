//! The world itself: a fault that does not do what it says would prove the product right for nothing. Each test needs the
//! real binary (`AERODB_BIN`), and what a machine lacks is said and skipped.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use cluster_tests::wait_until;
use jepsen::world::clock::Skew;
use jepsen::world::{DiskFaults, Needs, Party, Spec, World, advice, missing};

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(60);

/// A spec for a world in a folder of its own; `None`, and a line that says why, if this machine lacks something.
fn spec(folder: &tempfile::TempDir, nodes: usize, needs: Needs) -> Option<Spec> {
    if let Some(advice) = advice(&missing(&needs)) {
        eprintln!("SKIPPED, this machine lacks something:\n{advice}");
        return None;
    }
    let Some(binary) = std::env::var_os("AERODB_BIN") else {
        eprintln!("SKIPPED: set AERODB_BIN to the program under test");
        return None;
    };
    let folder = folder.path().to_owned();
    Some(Spec { nodes, seed: 7, folder, binary: binary.into(), needs, args: Vec::new(), planted: None })
}

fn namespaces() -> Needs {
    Needs { namespaces: true, ..Needs::default() }
}

async fn put(world: &World, node: u64, id: &str, n: u64) -> anyhow::Result<u16> {
    let url = format!("{}/api/notes/{id}", world.node(node)?.url());
    let client = reqwest::Client::builder().no_proxy().build()?;
    let body = serde_json::json!({ "n": n });
    let request = client.put(url).bearer_auth(world.service_key()).json(&body).timeout(SOON);
    Ok(request.send().await?.status().as_u16())
}

async fn get(world: &World, node: u64, id: &str) -> anyhow::Result<(u16, serde_json::Value)> {
    let url = format!("{}/api/notes/{id}", world.node(node)?.url());
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client.get(url).bearer_auth(world.service_key()).timeout(SOON).send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

async fn collection(world: &World) {
    let url = format!("{}/admin/collections", world.node(1).unwrap().url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = serde_json::json!({ "name": "notes" });
    let answer = client.post(url).bearer_auth(world.service_key()).json(&body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 201, "{}", answer.text().await.unwrap());
}

/// Everything on this machine that bears the mark of a run in this folder.
fn leftovers(folder: &std::path::Path) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let folder = folder.to_str().unwrap();
    mounts.lines().filter(|line| line.contains(folder)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_starts_is_killed_and_comes_back() {
    for needs in [Needs::default(), namespaces(), Needs { proxy: true, ..namespaces() }] {
        let folder = tempfile::tempdir().unwrap();
        let Some(spec) = spec(&folder, 3, needs) else { continue };
        let begun = Instant::now();
        let world = World::start(spec).await.unwrap();
        eprintln!("{needs:?}: ready after {:.1?}", begun.elapsed());
        collection(&world).await;
        for node in world.ids() {
            assert!(matches!(put(&world, node, "a", node).await.unwrap(), 200 | 201));
        }
        let leader = world.leader_in_term().await.unwrap();
        assert_eq!(world.kill(&[leader.id]).await.unwrap(), 1);
        wait_until(SOON, "another leader", || async {
            let next = world.leader_in_term().await.ok_or_else(|| anyhow::anyhow!("none"))?;
            anyhow::ensure!(next.term > leader.term, "{next:?}");
            Ok(())
        })
        .await
        .unwrap();
        world.heal().await.unwrap();
        world.wait_healthy(LATER).await.unwrap();
        assert_eq!(get(&world, leader.id, "a").await.unwrap().1["n"], 3);
        let tally = world.tally();
        assert_eq!((tally.killed, tally.endings.len()), (1, 0), "{tally:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_cuts_one_way_or_both_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let Some(spec) = spec(&folder, 3, namespaces()) else { return };
    let world = World::start(spec).await.unwrap();
    collection(&world).await;
    let leader = world.leader_in_term().await.unwrap();
    let followers: Vec<u64> = world.ids().into_iter().filter(|id| *id != leader.id).collect();

    // Both ways: the leader is deposed.
    let others = followers.clone();
    world.change_network(move |faults| faults.split(&[leader.id], &others)).await.unwrap();
    let next = wait_until(SOON, "another leader", || async {
        let next = world.leader_in_term().await.ok_or_else(|| anyhow::anyhow!("none"))?;
        anyhow::ensure!(next.term > leader.term && next.id != leader.id, "{next:?}");
        Ok(next)
    })
    .await
    .unwrap();
    assert!(matches!(put(&world, next.id, "a", 1).await.unwrap(), 200 | 201));
    let toll = world.toll().await.unwrap();
    assert!(toll.cut > 0, "{toll:?}");
    world.heal().await.unwrap();
    world.wait_healthy(LATER).await.unwrap();
    let after = world.toll().await.unwrap();
    assert!(matches!(put(&world, leader.id, "a", 2).await.unwrap(), 200 | 201));
    assert_eq!(world.toll().await.unwrap().cut, after.cut, "nothing is dropped any more");

    // One way: what a node says is heard and what is said to it is not. Probed below the program, packet by packet.
    if !has_ping() {
        return;
    }
    let (from, to) = (followers[0], followers[1]);
    assert!(pings(&world, from, to) && pings(&world, to, from));
    world.change_network(move |faults| _ = faults.cut.insert((Party::Node(from), Party::Node(to)))).await.unwrap();
    let before = heard(&world, from, to);
    assert!(!pings(&world, to, from), "the answer is on the way that is cut");
    assert!(heard(&world, from, to) > before, "the question arrives");
    world.heal().await.unwrap();
    assert!(pings(&world, from, to));

    // The clients only: the cluster goes on with that node.
    let now = world.wait_ready(LATER).await.unwrap();
    let node = world.ids().into_iter().find(|id| *id != now.id).unwrap();
    let ways = [(Party::Clients, Party::Node(node)), (Party::Node(node), Party::Clients)];
    world.change_network(move |faults| faults.cut.extend(ways)).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), put(&world, node, "a", 3)).await.is_err());
    assert!(matches!(put(&world, now.id, "a", 4).await.unwrap(), 200 | 201));
    world.heal().await.unwrap();
    world.wait_healthy(LATER).await.unwrap();
    assert_eq!(get(&world, node, "a").await.unwrap().1["n"], 4);
}

/// Whether an echo request from inside `from`'s namespace is answered by `to`.
fn pings(world: &World, from: u64, to: u64) -> bool {
    let mut command = world.command_inside(from, "ping").unwrap();
    let status = command.args(["-c1", "-W1", "-q", &world.address(to).unwrap()]).output().unwrap().status;
    status.success()
}

/// Whether this machine has what [`pings`] runs.
fn has_ping() -> bool {
    let found = std::process::Command::new("ping").arg("-V").output().is_ok();
    if !found {
        eprintln!("SKIPPED: there is no ping (package iputils-ping)");
    }
    found
}

/// How many echo requests `at` has received so far.
fn heard(world: &World, at: u64, _from: u64) -> u64 {
    let mut command = world.command_inside(at, "cat").unwrap();
    let text = String::from_utf8(command.arg("/proc/net/snmp").output().unwrap().stdout).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("Icmp:")).collect();
    let at = lines[0].split(' ').position(|name| name == "InEchos").unwrap();
    lines[1].split(' ').nth(at).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let needs = Needs { power_cut: true, ..namespaces() };
    let Some(spec) = spec(&folder, 3, needs) else { return };
    let world = World::start(spec).await.unwrap();
    let marks = world.marks();
    assert!(!leftovers(folder.path()).is_empty() && marks.iter().all(|mark| mark.exists()), "{marks:?}");
    let pids: Vec<u32> = world.nodes().iter().filter_map(|node| node.pid()).collect();
    assert_eq!(pids.len(), 3);
    drop(world);
    assert_eq!(leftovers(folder.path()), Vec::<String>::new());
    assert!(marks.iter().all(|mark| !mark.exists()), "{marks:?}");
    assert!(pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_what_was_not_synced_and_only_that() {
    let folder = tempfile::tempdir().unwrap();
    let Some(spec) = spec(&folder, 3, Needs { power_cut: true, ..namespaces() }) else { return };
    let world = World::start(spec).await.unwrap();
    collection(&world).await;
    let mut lost = 0;
    for round in 0..5 {
        let disk = world.node(1).unwrap().data_dir().parent().unwrap().to_owned();
        let (synced, unsynced) = (disk.join(format!("synced-{round}")), disk.join(format!("unsynced-{round}")));
        let mut file = std::fs::File::create(&synced).unwrap();
        file.write_all(&[b's'; 9_000]).unwrap();
        file.sync_all().unwrap();
        std::fs::File::open(&disk).unwrap().sync_all().unwrap();
        // The same file again, longer, and not synced: the first part must stay.
        file.write_all(&[b'u'; 9_000]).unwrap();
        std::fs::write(&unsynced, [b'u'; 9_000]).unwrap();
        drop(file);
        assert!(matches!(put(&world, world.leader().await.unwrap(), "a", round).await.unwrap(), 200 | 201));

        assert_eq!(world.power_cut(&[1, 2, 3]).await.unwrap(), 3);
        let found = std::fs::read(&synced).unwrap();
        assert!(found.starts_with(&[b's'; 9_000]), "of what was synced, {} bytes are there", found.len());
        // A file system may have written it for reasons of its own.
        lost += usize::from(std::fs::read(&unsynced).unwrap_or_default().is_empty());
        world.heal().await.unwrap();
        world.wait_healthy(LATER).await.unwrap();
        assert_eq!(get(&world, 1, "a").await.unwrap().1["n"], round, "an acknowledged write");
    }
    assert!(lost >= 3, "what nobody synced was lost {lost} times of 5");
    assert_eq!(world.tally().power_cut, 15);
}

/// As in a mix: one fault changes the network while another pulls a cable, which there is then nothing to do at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_changes_while_power_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let Some(spec) = spec(&folder, 3, Needs { power_cut: true, ..namespaces() }) else { return };
    let world = World::start(spec).await.unwrap();
    for _ in 0..2 {
        let changes = async {
            for permille in 1..=15 {
                let way = (Party::Node(2), Party::Node(1));
                world.change_network(move |faults| _ = faults.loss_permille.insert(way, permille)).await.unwrap();
            }
        };
        let (cut, ()) = tokio::join!(world.power_cut(&[1]), changes);
        assert_eq!(cut.unwrap(), 1);
        world.start_node(1).await.unwrap();
        world.heal().await.unwrap();
        world.wait_healthy(LATER).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_full_and_has_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(spec) = spec(&folder, 1, Needs { power_cut: true, ..namespaces() }) else { return };
    let world = World::build(spec).await.unwrap();
    let file = world.node(1).unwrap().data_dir().parent().unwrap().join("file");
    world.fill_disk(1, 0).await.unwrap();
    let error = std::fs::write(&file, vec![1; 4 << 20]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
    world.unfill_disk(1).await.unwrap();
    std::fs::write(&file, vec![1; 4 << 20]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_fails_as_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let Some(spec) = spec(&folder, 1, Needs { fuse: true, ..Needs::default() }) else { return };
    let world = World::build(spec).await.unwrap();
    let disk = world.node(1).unwrap().data_dir().parent().unwrap().to_owned();
    let path = disk.join("file");
    // All that a store does with files.
    let mut file = std::fs::File::options().create(true).append(true).read(true).open(&path).unwrap();
    file.write_all(b"hello").unwrap();
    file.sync_data().unwrap();
    std::fs::create_dir(disk.join("a")).unwrap();
    std::fs::hard_link(&path, disk.join("a/link")).unwrap();
    std::fs::rename(disk.join("a"), disk.join("b")).unwrap();
    std::fs::File::open(&disk).unwrap().sync_all().unwrap();
    assert_eq!(std::fs::read(disk.join("b/link")).unwrap(), b"hello");
    let mut names: Vec<_> = std::fs::read_dir(&disk).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["b", "file"]);
    file.set_len(3).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 3);

    let set = |faults| world.set_disk(1, faults).unwrap();
    let code = |outcome: std::io::Result<()>| outcome.unwrap_err().raw_os_error();
    set(DiskFaults { sync_fails_permille: 1_000, ..DiskFaults::default() });
    assert_eq!(code(file.sync_data()), Some(libc::EIO));
    assert_eq!(code(file.sync_all()), Some(libc::EIO));
    file.write_all(b"!").unwrap();
    set(DiskFaults { write_fails_permille: 1_000, ..DiskFaults::default() });
    assert_eq!(code(file.write_all(b"?")), Some(libc::EIO));
    set(DiskFaults { read_fails_permille: 1_000, ..DiskFaults::default() });
    assert_eq!(code(std::fs::read(&path).map(drop)), Some(libc::EIO));
    set(DiskFaults { full: true, ..DiskFaults::default() });
    assert_eq!(code(file.write_all(b"?")), Some(libc::ENOSPC));
    assert_eq!(code(std::fs::write(disk.join("new"), b"")), Some(libc::ENOSPC));
    set(DiskFaults { sync_delay: Duration::from_millis(300), ..DiskFaults::default() });
    let begun = Instant::now();
    file.sync_data().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300));
    set(DiskFaults::default());
    file.sync_data().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"hel!", "a call that failed did nothing");
    let toll = world.disk_toll(1).unwrap();
    assert_eq!((toll.syncs_failed, toll.syncs_slowed, toll.reads_failed), (2, 1, 1), "{toll:?}");
    assert_eq!((toll.writes_failed, toll.no_room), (1, 2), "{toll:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_jumps_and_only_that_one() {
    let folder = tempfile::tempdir().unwrap();
    let Some(spec) = spec(&folder, 3, Needs { clock: true, ..Needs::default() }) else { return };
    let world = World::start(spec).await.unwrap();
    // Forward only: hyper keeps the date of its answers until its clock has passed it.
    for ahead_ms in [3_600_000, 90_000_000] {
        world.set_clock(2, Skew { ahead_ms, rate: 1.0 }).unwrap();
        wait_until(SOON, "the clock to have jumped", || async {
            let seen = world.clock_ahead_ms(2).await?;
            anyhow::ensure!((seen - ahead_ms).abs() < 3_000, "{seen} ms ahead");
            Ok(())
        })
        .await
        .unwrap();
        assert!(world.clock_ahead_ms(1).await.unwrap().abs() < 3_000);
    }
    world.heal().await.unwrap();
    world.wait_healthy(LATER).await.unwrap();
}

/// Whether what bears a mark is still there. A process that ended counts as gone, whoever should have waited for it.
fn is_there(mark: &Path) -> bool {
    let state = std::fs::read_to_string(mark.join("stat")).unwrap_or_default();
    mark.exists() && !state.contains(") Z ")
}

/// Not a test by itself: a world in a process of its own, for the tests below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by other tests"]
async fn a_world_that_waits() {
    let folder = PathBuf::from(std::env::var_os("JEPSEN_WAITS_IN").unwrap());
    let needs = Needs { power_cut: true, ..namespaces() };
    let binary = std::env::var_os("AERODB_BIN").unwrap().into();
    let world =
        World::start(Spec { nodes: 2, seed: 1, folder, binary, needs, args: Vec::new(), planted: None }).await.unwrap();
    for mark in world.marks() {
        println!("mark {}", mark.display());
    }
    for pid in world.nodes().iter().filter_map(|node| node.pid()) {
        println!("mark /proc/{pid}");
    }
    println!("waits");
    std::future::pending::<()>().await;
}

/// Starts a world in another process; gives that process and what the world has left on the machine.
fn another_world(folder: &Path) -> (std::process::Child, Vec<PathBuf>) {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_world_that_waits", "--ignored", "--nocapture"])
        .env("JEPSEN_WAITS_IN", folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut marks = Vec::new();
    for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((_, mark)) = line.split_once("mark ") {
            marks.push(PathBuf::from(mark));
        }
        if line.contains("waits") && !line.contains("a_world_that_waits") {
            break;
        }
    }
    assert!(marks.len() >= 5 && marks.iter().all(|mark| mark.exists()), "{marks:?}");
    assert!(!leftovers(folder).is_empty());
    (child, marks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_world_that_is_told_to_stop_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_) = spec(&folder, 2, Needs { power_cut: true, ..namespaces() }) else { return };
    let (mut child, marks) = another_world(folder.path());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(leftovers(folder.path()), Vec::<String>::new());
    assert!(!marks.iter().any(|mark| is_there(mark)), "{marks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_world_cleans_up_after_one_that_was_killed() {
    let (folder, next) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(_) = spec(&folder, 2, Needs { power_cut: true, ..namespaces() }) else { return };
    let (mut child, marks) = another_world(folder.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let spec = spec(&next, 2, namespaces()).unwrap();
    let world = World::build(spec).await.unwrap();
    assert_eq!(leftovers(folder.path()), Vec::<String>::new());
    // The next world may have taken the same slot, and with it the same names.
    let ours = world.marks();
    assert!(marks.iter().all(|mark| ours.contains(mark) || !is_there(mark)), "{marks:?}");
}
