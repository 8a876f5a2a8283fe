//! A seeded world: callers, a gateway of one or more workers, targets, a network between them, and a clock
//! that jumps from event to event. The same seed is the same world, event for event.
//!
//! `population.rs` draws who takes part, `traffic.rs` moves bytes, `chores.rs` does what operators and
//! crashes do, `checks.rs` says what has to hold in the end.

mod checks;
mod chores;
mod population;
mod summary;
mod traffic;

use std::collections::BTreeMap;

use gatewayx_engine::{ConnId, DialError, Key};
use gatewayx_telemetry::Region;

use crate::books::Tally;
use crate::gateway::{Gateway, READ_MAX_BYTES, Style, Wish, region};
use crate::plan::{ExchangePlan, Layout, MS, Temper};
use crate::rng::Rng;

pub use summary::Summary;

use chores::Chore;
use traffic::Link;

/// More events than any world needs.
const STEPS_MAX: u64 = 5_000_000;

/// A worker, also one that has died: workers are numbered in the order in which they were started.
type WorkerId = usize;

/// A connection of a worker.
type Place = (WorkerId, ConnId);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    CallerComes(usize),
    DialEnds(WorkerId, Key, Result<(), DialError>),
    ArrivesAtGateway(Place),
    ArrivesAtPeer(Place),
    GatewayHasRoom(Place, usize),
    PeerHasRoom(Place, usize),
    PeerWakes(Place),
    CloseIsOverdue(Place),
    WorkerIsWoken(u32),
    Chore(Chore),
}

struct Worker {
    gateway: Gateway,
    is_alive: bool,
}

/// A world.
pub struct World {
    seed: u64,
    traces: bool,
    layout: Layout,
    rng: Rng,
    // who takes part
    style: Style,
    region: Region,
    workers: Vec<Worker>,
    links: BTreeMap<Place, Link>,
    callers: Vec<Vec<u64>>,
    plans: Vec<ExchangePlan>,
    // what is going to happen
    now_ns: u64,
    queue: BTreeMap<(u64, u64), Event>,
    events_count: u64,
    timer_late_ns: u64,
    steps: u64,
    // how things stand
    /// The running configuration, and those that a reload has still to bring to a worker.
    cfg: serde_json::Value,
    /// No reload has moved a limit.
    limits_exact: bool,
    accepts: bool,
    /// All that is wrong has passed.
    healed: bool,
    /// What workers that died have counted.
    departed: Tally,
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
        if traces {
            println!("{temper:?} {style:?} {}", layout.cfg);
        }
        let late_max_ns = if temper == Temper::Calm { MS } else { 50 * MS };
        let workers_count = if rng.chance(70) { 1 } else { rng.between(2, 4) };
        let mut world = Self {
            seed,
            traces,
            style,
            region: region(&layout.cfg, workers_count as u32),
            workers: Vec::new(),
            links: BTreeMap::new(),
            callers: Vec::new(),
            plans: Vec::new(),
            now_ns: 1_000 * MS,
            queue: BTreeMap::new(),
            events_count: 0,
            timer_late_ns: if rng.chance(50) {
                0
            } else {
                rng.below(late_max_ns)
            },
            steps: 0,
            cfg: layout.cfg.clone(),
            limits_exact: true,
            accepts: true,
            healed: false,
            departed: Tally::default(),
            layout,
            rng,
        };
        for slot in 0..workers_count {
            world.start_worker(slot as u32);
        }
        world.populate();
        world
    }

    fn start_worker(&mut self, slot: u32) {
        let (cfg, style, seed) = (&self.cfg, self.style, self.rng.next_u64());
        let mut gateway = Gateway::worker(cfg, style, seed, self.region.clone(), slot);
        gateway.traces = self.traces;
        let unsent_max_bytes = self.layout.high_water_bytes
            + 3 * READ_MAX_BYTES as u64
            + 2 * self.layout.head_max_bytes
            + 4_096;
        gateway.bound_unsent(unsent_max_bytes as usize);
        let is_alive = true;
        self.workers.push(Worker { gateway, is_alive });
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
        for id in self.living() {
            self.gateway(id).shut_down();
        }
        self.settle();
        while self.step() {}
        self.check_rest();
        for id in self.living() {
            self.workers[id].gateway.ledger.close();
        }
        self.summary()
    }

    fn schedule(&mut self, at_ns: u64, event: Event) {
        self.events_count += 1;
        self.queue.insert((at_ns, self.events_count), event);
    }

    /// The gateway of a worker, at the present time.
    fn gateway(&mut self, id: WorkerId) -> &mut Gateway {
        let gateway = &mut self.workers[id].gateway;
        gateway.now_ns = self.now_ns;
        gateway
    }

    fn living(&self) -> Vec<WorkerId> {
        (0..self.workers.len())
            .filter(|&id| self.workers[id].is_alive)
            .collect()
    }

    // ---- what happens

    /// The next event, or a timer of a worker; `false` when there is neither.
    fn step(&mut self) -> bool {
        let event_ns = self.queue.keys().next().map(|&(at_ns, _)| at_ns);
        let timer = self
            .living()
            .into_iter()
            .filter_map(|id| Some((self.workers[id].gateway.timer_ns()?, id)))
            .min()
            .map(|(at_ns, id)| (at_ns + self.timer_late_ns, id));
        match (timer, event_ns) {
            (None, None) => return false,
            (Some((timer_ns, id)), None) => self.fire_timer(timer_ns, id),
            (Some((timer_ns, id)), Some(event_ns)) if timer_ns < event_ns => {
                self.fire_timer(timer_ns, id);
            }
            (_, Some(event_ns)) => {
                self.now_ns = self.now_ns.max(event_ns);
                if let Some((_, event)) = self.queue.pop_first() {
                    self.happen(event);
                }
            }
        }
        self.settle();
        self.compare_books();
        true
    }

    fn fire_timer(&mut self, at_ns: u64, id: WorkerId) {
        self.now_ns = self.now_ns.max(at_ns);
        self.gateway(id).fire_timer();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::CallerComes(index) => self.open_caller(index),
            Event::DialEnds(id, key, outcome) if self.workers[id].is_alive => match outcome {
                Ok(()) => self.open_target(id, key),
                Err(error) => self.gateway(id).fail_dial(key, error),
            },
            Event::GatewayHasRoom((id, conn), bytes) if self.workers[id].is_alive => {
                self.gateway(id).widen(conn, bytes);
            }
            Event::DialEnds(..) | Event::GatewayHasRoom(..) => {}
            Event::ArrivesAtGateway(place) => self.arrive_at_gateway(place),
            Event::ArrivesAtPeer(place) => self.arrive_at_peer(place),
            Event::PeerHasRoom(place, bytes) => {
                if let Some(link) = self.links.get_mut(&place) {
                    link.peer_room += bytes;
                }
                self.advance_peer(place);
            }
            Event::PeerWakes(place) => self.advance_peer(place),
            Event::CloseIsOverdue(place) => self.drop_overdue(place),
            Event::WorkerIsWoken(slot) => {
                for id in self.living() {
                    if self.workers[id].gateway.slot == slot {
                        self.gateway(id).wake();
                    }
                }
            }
            Event::Chore(chore) => self.do_chore(chore),
        }
    }

    /// Does what the workers wish.
    fn settle(&mut self) {
        let mut id = 0;
        while id < self.workers.len() {
            let wishes = std::mem::take(&mut self.workers[id].gateway.wishes);
            for &wish in &wishes {
                match wish {
                    Wish::Dial(key, _) => self.dial(id, key),
                    Wish::CancelDial(_) => {}
                    Wish::Look(conn) => self.look((id, conn)),
                    Wish::Wake(slot) => {
                        let at_ns = self.now_ns + self.rng.below(MS);
                        self.schedule(at_ns, Event::WorkerIsWoken(slot));
                    }
                }
            }
            id = if wishes.is_empty() { id + 1 } else { 0 };
        }
    }

    /// Workers that share their books have them compared here.
    fn compare_books(&mut self) {
        let mut due = false;
        for worker in &mut self.workers {
            due |= std::mem::take(&mut worker.gateway.books_due);
        }
        let Some(&first) = self.living().first() else {
            return;
        };
        if !due {
            return;
        }
        let mut tally = self.departed.clone();
        for id in self.living() {
            tally.add(&self.workers[id].gateway.tally());
        }
        let books = self.workers[first].gateway.books();
        books.agree_with(&tally, self.limits_exact);
    }
}
