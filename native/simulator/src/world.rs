//! A seeded world: callers, a gateway, targets, a network between them, and a clock that jumps from event to
//! event. The same seed is the same world, event for event.

use std::collections::BTreeMap;

use gatewayx_engine::{CloseMode, ConnId, DialError, Key};

use crate::content::{Direction, first_difference};
use crate::gateway::{Gateway, READ_MAX_BYTES, Style, Wish};
use crate::network::{Parcel, Pipe, Weather};
use crate::oracle::{End, Message};
use crate::peer::{Act, Peer, Role};
use crate::plan::{ExchangePlan, Goodbye, Layout, MS, Step, Temper, number_of};
use crate::rng::Rng;

/// More events than any world needs.
const STEPS_MAX: u64 = 5_000_000;

/// How long a driver goes on sending what is left of a connection that the engine has closed.
const CLOSE_BOUND_NS: u64 = 30_000 * MS;

/// How long a driver dials that is given no deadline.
const DIAL_BOUND_NS: u64 = 7_200_000 * MS;

/// What a world was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Exchanges that the gateway has accounted for.
    pub exchanges: u64,
    /// How they ended: by reason, and by nothing when they ended well.
    pub ends: BTreeMap<String, u64>,
    /// Connections to targets, and how often one served again.
    pub connects: u64,
    /// Requests over a pooled connection.
    pub reuses: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Events.
    pub steps: u64,
}

impl Summary {
    /// Adds what another world was.
    pub fn add(&mut self, other: &Self) {
        self.exchanges += other.exchanges;
        for (end, count) in &other.ends {
            *self.ends.entry(end.clone()).or_default() += count;
        }
        self.connects += other.connects;
        self.reuses += other.reuses;
        self.retries += other.retries;
        self.steps += other.steps;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    CallerComes(usize),
    DialEnds(Key, Result<(), DialError>),
    ArrivesAtGateway(ConnId),
    ArrivesAtPeer(ConnId),
    GatewayHasRoom(ConnId, usize),
    PeerHasRoom(ConnId, usize),
    PeerWakes(ConnId),
    CloseIsOverdue(ConnId),
    Chore(Chore),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chore {
    Reload,
    Drain,
    ShutDown,
    EarlyTimer,
}

struct Link {
    weather: Weather,
    to_peer: Pipe,
    to_gateway: Pipe,
    peer: Peer,
    /// Bytes that the peer may send before the gateway reads.
    peer_room: usize,
    /// The gateway's end is closed.
    gateway_gone: bool,
    stubborn: bool,
    notices_resets: bool,
    due_at_gateway_ns: Option<u64>,
    due_at_peer_ns: Option<u64>,
}

/// A world.
pub struct World {
    seed: u64,
    layout: Layout,
    gateway: Gateway,
    links: BTreeMap<ConnId, Link>,
    callers: Vec<Vec<u64>>,
    plans: Vec<ExchangePlan>,
    queue: BTreeMap<(u64, u64), Event>,
    events_count: u64,
    rng: Rng,
    timer_late_ns: u64,
    accepts: bool,
    /// All that is wrong has passed.
    healed: bool,
    /// The running configuration.
    cfg: serde_json::Value,
    steps: u64,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64, traces: bool) -> Self {
        let mut rng = Rng::new(seed);
        let temper = if rng.chance(30) {
            Temper::Calm
        } else {
            Temper::Rough
        };
        let layout = Layout::draw(&mut rng, temper);
        let style = Style {
            reports_within_drain: rng.chance(50),
            reports_progress: rng.chance(30),
        };
        let mut gateway = Gateway::new(&layout.cfg, style, rng.next_u64());
        gateway.traces = traces;
        let unsent_max_bytes =
            layout.high_water_bytes + 3 * READ_MAX_BYTES as u64 + 2 * layout.head_max_bytes + 4_096;
        gateway.bound_unsent(unsent_max_bytes as usize);
        if traces {
            println!("{temper:?} {style:?} {}", layout.cfg);
        }
        let late_max_ns = if temper == Temper::Calm { MS } else { 50 * MS };
        let mut world = Self {
            seed,
            gateway,
            links: BTreeMap::new(),
            callers: Vec::new(),
            plans: Vec::new(),
            queue: BTreeMap::new(),
            events_count: 0,
            timer_late_ns: if rng.chance(50) {
                0
            } else {
                rng.below(late_max_ns)
            },
            accepts: true,
            healed: false,
            cfg: layout.cfg.clone(),
            steps: 0,
            layout,
            rng,
        };
        world.populate();
        world
    }

    /// Lets everything happen, and checks that nothing is left.
    pub fn run(mut self) -> Summary {
        while self.step() {
            self.steps += 1;
            assert!(self.steps < STEPS_MAX, "the world does not come to rest");
        }
        if self.layout.bounded {
            self.check_rest();
        }
        if self.layout.temper == Temper::Calm {
            self.check_calm();
        }
        self.check_peers();
        if self.layout.bounded && self.accepts {
            self.check_recovery();
        }
        self.gateway.shut_down();
        self.settle();
        while self.step() {}
        self.check_rest();
        self.gateway.ledger.close();
        let books = self.gateway.books();
        Summary {
            exchanges: self.gateway.ledger.lines_count(),
            ends: self.gateway.ledger.ends().clone(),
            connects: books.connects,
            reuses: books.reuses,
            retries: books.retries,
            steps: self.steps,
        }
    }

    // ---- what is going to happen

    fn populate(&mut self) {
        let start_ns = self.gateway.now_ns;
        let span_ns = self.rng.pick(&[1, 50, 2_000]) * MS;
        for _ in 0..self.rng.between(1, 16) {
            let calm = self.layout.temper == Temper::Calm;
            let mut exchanges = Vec::new();
            let burst = self.rng.chance(5);
            for _ in 0..self.rng.between(1, if burst { 40 } else { 6 }) {
                let number = self.plans.len() as u64;
                let plan = ExchangePlan::draw(self.seed, number, &self.layout);
                let is_last = plan.is_last();
                exchanges.push(number);
                self.plans.push(plan);
                if is_last && (calm || self.rng.chance(50)) {
                    break;
                }
            }
            let at_ns = start_ns + self.rng.below(span_ns);
            self.schedule(at_ns, Event::CallerComes(self.callers.len()));
            self.callers.push(exchanges);
        }
        if self.rng.chance(20) {
            self.plan_chore(span_ns, Chore::Reload);
        }
        if self.rng.chance(20) {
            self.plan_chore(span_ns, Chore::EarlyTimer);
        }
        if self.layout.temper == Temper::Rough && self.rng.chance(15) {
            let chore = self
                .rng
                .pick(&[Chore::Drain, Chore::Drain, Chore::ShutDown]);
            self.plan_chore(span_ns, chore);
        }
    }

    fn plan_chore(&mut self, span_ns: u64, chore: Chore) {
        let at_ns = self.gateway.now_ns + self.rng.below(2 * span_ns);
        self.schedule(at_ns, Event::Chore(chore));
    }

    fn schedule(&mut self, at_ns: u64, event: Event) {
        self.events_count += 1;
        self.queue.insert((at_ns, self.events_count), event);
    }

    /// The script of a caller.
    fn script(&mut self, exchanges: &[u64]) -> Vec<Step> {
        let rough = self.layout.temper == Temper::Rough;
        let depth = if self.rng.chance(25) {
            self.rng.between(2, 40)
        } else {
            1
        } as usize;
        let mut steps = Vec::new();
        for (index, &number) in exchanges.iter().enumerate() {
            let plan = &self.plans[number as usize];
            let (request, response) = (&plan.request, &plan.response);
            let awaited = if request.expects_continue || request.upgrades {
                index
            } else {
                (index + 1).saturating_sub(depth)
            };
            steps.push(Step::AwaitResponses(awaited));
            let deaf = if rough {
                self.rng.chance(8)
            } else {
                depth == 1 && self.rng.chance(10) && response.waits_for_request(request)
            };
            if deaf {
                steps.push(Step::Read(false));
            }
            steps.extend(request.steps(&mut self.rng, number, &plan.id));
            if deaf && !(rough && self.rng.chance(30)) {
                if rough {
                    steps.push(Step::Wait(self.rng.below(3_000) * MS));
                }
                steps.push(Step::Read(true));
            }
        }
        steps.push(Step::AwaitResponses(exchanges.len()));
        let goodbye = match self.rng.below(10) {
            0 if rough => Goodbye::Reset,
            1 if rough => Goodbye::Silence,
            _ => Goodbye::Fin,
        };
        steps.push(Step::Leave(goodbye));
        steps
    }

    // ---- what happens

    /// The next event, or the gateway's timer; `false` when there is neither.
    fn step(&mut self) -> bool {
        let event_ns = self.queue.keys().next().map(|&(at_ns, _)| at_ns);
        let timer_ns = self
            .gateway
            .timer_ns()
            .map(|at_ns| at_ns + self.timer_late_ns);
        let timer_first = match (event_ns, timer_ns) {
            (None, None) => return false,
            (Some(event_ns), Some(timer_ns)) => timer_ns < event_ns,
            (None, Some(_)) => true,
            (Some(_), None) => false,
        };
        if timer_first {
            self.pass_to(timer_ns);
            self.gateway.fire_timer();
        } else if let Some(((at_ns, _), event)) = self.queue.pop_first() {
            self.pass_to(Some(at_ns));
            self.happen(event);
        }
        self.settle();
        true
    }

    fn pass_to(&mut self, at_ns: Option<u64>) {
        self.gateway.now_ns = self.gateway.now_ns.max(at_ns.unwrap_or(0));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::CallerComes(index) => self.open_caller(index),
            Event::DialEnds(key, Ok(())) => self.open_target(key),
            Event::DialEnds(key, Err(error)) => self.gateway.fail_dial(key, error),
            Event::ArrivesAtGateway(conn) => self.arrive_at_gateway(conn),
            Event::ArrivesAtPeer(conn) => self.arrive_at_peer(conn),
            Event::GatewayHasRoom(conn, bytes) => self.gateway.widen(conn, bytes),
            Event::PeerHasRoom(conn, bytes) => {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.peer_room += bytes;
                }
                self.advance_peer(conn);
            }
            Event::PeerWakes(conn) => self.advance_peer(conn),
            Event::CloseIsOverdue(conn) => self.drop_overdue(conn),
            Event::Chore(chore) => self.do_chore(chore),
        }
    }

    fn do_chore(&mut self, chore: Chore) {
        match chore {
            Chore::Reload => {
                self.cfg = self.layout.redraw(&mut self.rng);
                self.gateway.configure(&self.cfg);
            }
            Chore::Drain => {
                self.accepts = false;
                self.gateway.start_draining();
            }
            Chore::ShutDown => {
                self.accepts = false;
                self.gateway.shut_down();
            }
            Chore::EarlyTimer => self.gateway.fire_timer(),
        }
    }

    fn open_caller(&mut self, index: usize) {
        if !self.accepts {
            return;
        }
        let exchanges = self.callers[index].clone();
        let script = self.script(&exchanges);
        let methods: Vec<&str> = exchanges
            .iter()
            .map(|&number| self.plans[number as usize].request.method)
            .collect();
        let peer = Peer::caller(exchanges, &methods, script);
        self.connect(peer);
    }

    fn connect(&mut self, peer: Peer) -> ConnId {
        let weather = self.weather();
        self.gateway.window_bytes = weather.window_bytes;
        let conn = self.gateway.open_downstream();
        self.link(conn, weather, peer);
        self.advance_peer(conn);
        conn
    }

    fn weather(&mut self) -> Weather {
        if self.healed {
            Weather::perfect()
        } else {
            Weather::draw(
                &mut self.rng,
                self.layout.temper,
                self.layout.bodies_max_bytes / 300,
            )
        }
    }

    fn open_target(&mut self, key: Key) {
        let weather = self.weather();
        self.gateway.window_bytes = weather.window_bytes;
        if let Some(conn) = self.gateway.complete_dial(key) {
            self.link(conn, weather, Peer::target());
        }
    }

    fn link(&mut self, conn: ConnId, weather: Weather, peer: Peer) {
        let link = Link {
            weather,
            to_peer: Pipe::default(),
            to_gateway: Pipe::default(),
            peer,
            peer_room: weather.peer_window_bytes,
            gateway_gone: false,
            stubborn: self.rng.chance(40),
            notices_resets: self.rng.chance(50),
            due_at_gateway_ns: None,
            due_at_peer_ns: None,
        };
        self.links.insert(conn, link);
    }

    // ---- the gateway's end

    /// Does what the gateway wishes.
    fn settle(&mut self) {
        while !self.gateway.wishes.is_empty() {
            for wish in std::mem::take(&mut self.gateway.wishes) {
                match wish {
                    Wish::Dial(key, _) => self.dial(key),
                    Wish::CancelDial(_) => {}
                    Wish::Look(conn) => self.look(conn),
                }
            }
        }
    }

    fn dial(&mut self, key: Key) {
        let now_ns = self.gateway.now_ns;
        let rough = self.layout.temper == Temper::Rough;
        let soon_ns = self.rng.below(5 * MS);
        let late_ns = self.rng.below(3_000 * MS);
        let (wait_ns, outcome) = match self.rng.below(20) {
            _ if self.healed => (0, Ok(())),
            0 if rough => (soon_ns, Err(DialError::Failed)),
            1 if rough => (late_ns, Err(DialError::TimedOut)),
            2 if rough => (late_ns, Ok(())),
            3 if rough => (DIAL_BOUND_NS, Err(DialError::TimedOut)),
            _ => (soon_ns, Ok(())),
        };
        self.schedule(now_ns + wait_ns, Event::DialEnds(key, outcome));
    }

    /// Fetches what the gateway has sent, passes on how it ended, and lets it read again.
    fn look(&mut self, conn: ConnId) {
        let now_ns = self.gateway.now_ns;
        let (Some(socket), Some(link)) = (
            self.gateway.sockets.get_mut(&conn),
            self.links.get_mut(&conn),
        ) else {
            return;
        };
        let bytes = std::mem::take(&mut socket.taken);
        let (weather, rng) = (link.weather, &mut self.rng);
        link.to_peer.send(now_ns, &bytes, &weather, rng);
        let sent = socket.unsent.is_empty();
        match socket.closed {
            None if socket.shut_down && sent => {
                link.to_peer.end(now_ns, Parcel::Fin, &weather, rng);
            }
            None => {}
            Some(CloseMode::Graceful) if !sent => {
                self.schedule(now_ns + CLOSE_BOUND_NS, Event::CloseIsOverdue(conn));
            }
            Some(mode) => {
                // A kernel answers for unread bytes with a reset.
                let unread = link.to_gateway.has_unread(now_ns);
                let parcel = if mode == CloseMode::Reset || unread {
                    Parcel::Reset
                } else {
                    Parcel::Fin
                };
                link.to_peer.end(now_ns, parcel, &weather, rng);
                link.gateway_gone = true;
                self.gateway.sockets.remove(&conn);
            }
        }
        self.expect_at_peer(conn, 0);
        self.expect_at_gateway(conn);
    }

    fn drop_overdue(&mut self, conn: ConnId) {
        if let Some(socket) = self.gateway.sockets.get_mut(&conn) {
            socket.unsent.clear();
            socket.closed = Some(CloseMode::Reset);
            self.look(conn);
        }
    }

    fn expect_at_gateway(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        if let Some(next_ns) = link.to_gateway.next_ns() {
            let at_ns = next_ns.max(self.gateway.now_ns);
            if link.due_at_gateway_ns.is_none_or(|due_ns| at_ns < due_ns) {
                link.due_at_gateway_ns = Some(at_ns);
                self.schedule(at_ns, Event::ArrivesAtGateway(conn));
            }
        }
    }

    fn arrive_at_gateway(&mut self, conn: ConnId) {
        let now_ns = self.gateway.now_ns;
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        link.due_at_gateway_ns = None;
        if link.gateway_gone {
            if let Some(Parcel::Bytes(_)) = link.to_gateway.take(now_ns, usize::MAX) {
                link.to_gateway.clear();
                link.to_peer
                    .end(now_ns, Parcel::Reset, &link.weather, &mut self.rng);
                self.expect_at_peer(conn, 0);
            }
            return;
        }
        let Some(socket) = self.gateway.sockets.get_mut(&conn) else {
            return;
        };
        if !socket.reads || socket.closed.is_some() {
            if link.to_gateway.has_reset(now_ns) {
                if link.notices_resets || !socket.unsent.is_empty() || socket.closed.is_some() {
                    self.gateway.deliver_closed(conn);
                } else {
                    socket.broken = true;
                }
            }
            return;
        }
        match link.to_gateway.take(now_ns, link.weather.read_max_bytes) {
            None => {}
            Some(Parcel::Bytes(bytes)) => {
                let at_ns = now_ns + self.rng.below(MS);
                self.schedule(at_ns, Event::PeerHasRoom(conn, bytes.len()));
                self.gateway.deliver(conn, &bytes);
            }
            Some(Parcel::Fin) => self.gateway.deliver_eof(conn),
            Some(Parcel::Reset) => self.gateway.deliver_closed(conn),
        }
        self.expect_at_gateway(conn);
    }

    // ---- the peer's end

    fn expect_at_peer(&mut self, conn: ConnId, gap_ns: u64) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        if let Some(next_ns) = link.to_peer.next_ns() {
            let at_ns = next_ns.max(self.gateway.now_ns + gap_ns);
            if link.due_at_peer_ns.is_none() {
                link.due_at_peer_ns = Some(at_ns);
                self.schedule(at_ns, Event::ArrivesAtPeer(conn));
            }
        }
    }

    fn arrive_at_peer(&mut self, conn: ConnId) {
        let now_ns = self.gateway.now_ns;
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        link.due_at_peer_ns = None;
        if link.peer.is_gone {
            link.to_peer.clear();
            return;
        }
        if !link.peer.reads && !link.to_peer.has_reset(now_ns) {
            return;
        }
        let (read_max_bytes, gap_ns) = link.weather.peer_read;
        match link.to_peer.take(now_ns, read_max_bytes) {
            None => {}
            Some(Parcel::Bytes(bytes)) => {
                link.peer.receive(&bytes);
                let at_ns = now_ns + self.rng.below(MS);
                self.schedule(at_ns, Event::GatewayHasRoom(conn, bytes.len()));
            }
            Some(Parcel::Fin) => link.peer.receive_end(true, link.stubborn),
            Some(Parcel::Reset) => link.peer.receive_end(false, false),
        }
        self.advance_peer(conn);
        self.expect_at_peer(conn, gap_ns);
    }

    fn advance_peer(&mut self, conn: ConnId) {
        let now_ns = self.gateway.now_ns;
        self.find_answers(conn);
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        let weather = link.weather;
        for act in link.peer.act(now_ns, link.peer_room) {
            let Some(link) = self.links.get_mut(&conn) else {
                return;
            };
            match act {
                Act::Send(bytes) => {
                    link.peer_room -= bytes.len();
                    link.to_gateway
                        .send(now_ns, &bytes, &weather, &mut self.rng);
                }
                Act::WakeAt(at_ns) => self.schedule(at_ns, Event::PeerWakes(conn)),
                Act::Read => self.expect_at_peer(conn, 0),
                Act::Taint => self.gateway.ledger.taint(conn),
                Act::Fin => {
                    link.to_gateway
                        .end(now_ns, Parcel::Fin, &weather, &mut self.rng);
                }
                Act::Reset => {
                    link.to_gateway
                        .end(now_ns, Parcel::Reset, &weather, &mut self.rng);
                    link.to_peer.clear();
                }
            }
        }
        self.expect_at_gateway(conn);
    }

    /// A target looks up what to say to requests that have come.
    fn find_answers(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        if link.peer.role != Role::Target {
            return;
        }
        while let Some(message) = link.peer.incoming.messages.get(link.peer.answered_count) {
            let index = link.peer.answered_count;
            link.peer.answered_count += 1;
            let plan = self.plans.get(number_in(self.seed, message));
            let switches = plan.is_some_and(|plan| plan.response.switches);
            link.peer.incoming.resolve_upgrade(switches);
            let steps = match plan {
                Some(plan) => {
                    let rng = &mut self.rng;
                    plan.response
                        .steps(rng, plan.number, &plan.id, &plan.request, index)
                }
                None => vec![
                    Step::AwaitRequest(index, u64::MAX),
                    Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
                ],
            };
            link.peer.follow(steps);
        }
    }

    // ---- what has to hold when all is over

    /// Nothing is left: no exchange, no permit, no connection, no byte, no timer.
    fn check_rest(&self) {
        let counts = self.gateway.engine.counts();
        assert_eq!(
            counts.exchanges, 0,
            "exchanges hang at the end of the world"
        );
        assert_eq!(counts.downstreams, 0, "callers' connections are left");
        assert_eq!(counts.upstreams, 0, "targets' connections are left");
        let books = self.gateway.books();
        assert!(
            books.permits.values().all(|&permits| permits == 0),
            "{:?}",
            books.permits
        );
        assert!(
            books.queued.values().all(|&queued| queued == 0),
            "{:?}",
            books.queued
        );
        assert!(
            self.gateway.sockets.is_empty(),
            "{:?}",
            self.gateway.sockets.keys()
        );
        assert!(self.gateway.dials.is_empty(), "{:?}", self.gateway.dials);
        assert_eq!(self.gateway.engine.poll_deadline(), None, "a timer is left");
    }

    /// Nothing that went wrong has a hold on the gateway: once breakers have had their time and peers behave,
    /// every proxy serves again.
    fn check_recovery(&mut self) {
        const QUIET_NS: u64 = 60_000 * MS;
        self.healed = true;
        let proxies = self.cfg["proxies"].as_array().cloned().unwrap_or_default();
        for proxy in proxies.iter().filter(|proxy| proxy["active"] != false) {
            self.gateway.now_ns += QUIET_NS;
            for turn in 0..4 {
                let path = proxy["path"].as_str().unwrap_or_default();
                let request = format!("GET {path} HTTP/1.1\r\nHost: sim.test\r\n\r\n");
                let script = vec![
                    Step::Send(request.into_bytes()),
                    Step::AwaitResponses(1),
                    Step::Leave(Goodbye::Fin),
                ];
                let conn = self.connect(Peer::caller(Vec::new(), &["GET"], script));
                self.settle();
                while !self.links[&conn].peer.is_gone && self.step() {}
                let answer = finals(&self.links[&conn].peer);
                let status = answer.first().map_or(0, |answer| answer.status());
                assert_eq!(
                    status, 200,
                    "{} does not recover, request {turn}",
                    proxy["name"]
                );
            }
        }
        while self.step() {}
        self.check_rest();
    }

    /// Everybody kept the rules: everybody was served.
    fn check_calm(&self) {
        for link in self.links.values() {
            let Role::Caller { exchanges } = &link.peer.role else {
                continue;
            };
            let finals: Vec<&Message> = finals(&link.peer);
            for (index, &number) in exchanges.iter().enumerate() {
                let plan = &self.plans[number as usize];
                let id = &plan.id;
                let answer = finals.get(index).unwrap_or_else(|| {
                    panic!("{id} got no answer; {:?}", self.gateway.ledger.line(id))
                });
                let (status, body_bytes) = plan.response.outcome(&plan.request);
                let line = self.gateway.ledger.line(id);
                assert_eq!(answer.status(), status, "{id}: status; {line:?}");
                assert_eq!(answer.end, End::Whole, "{id}: cut; {line:?}");
                assert_eq!(answer.body.len() as u64, body_bytes, "{id}: size; {line:?}");
            }
        }
    }

    /// Every body that a peer has got belongs to the exchange that it came with.
    fn check_peers(&self) {
        for link in self.links.values() {
            let incoming = &link.peer.incoming;
            match &link.peer.role {
                Role::Target => {
                    for message in &incoming.messages {
                        if let Some(plan) = self.plans.get(number_in(self.seed, message))
                            && plan.request.is_faithful()
                        {
                            assert_content(message, plan, Direction::Request);
                        }
                    }
                }
                Role::Caller { exchanges } => {
                    for (message, &number) in finals(&link.peer).into_iter().zip(exchanges) {
                        let plan = &self.plans[number as usize];
                        let own = message.field("x-gateway-reason").is_some();
                        let faithful = plan.response.is_faithful() && plan.request.is_faithful();
                        if !own && faithful && message.field("x-sim-echo") == Some(&plan.id) {
                            assert_content(message, plan, Direction::Response);
                        }
                    }
                }
            }
        }
    }
}

fn finals(peer: &Peer) -> Vec<&Message> {
    peer.incoming
        .messages
        .iter()
        .filter(|message| !message.is_interim())
        .collect()
}

/// The number of the exchange that a request belongs to, or one that no exchange has.
fn number_in(seed: u64, message: &Message) -> usize {
    message
        .field("x-sim-exchange")
        .and_then(|id| number_of(seed, id))
        .map_or(usize::MAX, |number| number as usize)
}

fn assert_content(message: &Message, plan: &ExchangePlan, direction: Direction) {
    let place = first_difference(&message.body, plan.number, direction);
    assert_eq!(
        place, None,
        "{}: another's byte in the {direction:?}",
        plan.id
    );
}
