//! What there is to see, and how it differs from the look before.

use std::collections::{HashMap, VecDeque};

use wskguard_core::counters::COUNTERS;

use crate::{
    audit::{Cursor, Record},
    command::{AnyDriver, directory, everything},
    driver::{Driver, Error},
    exit::Failure,
    host::{Access, Host},
    time::SECOND,
    view::{Books, Client, Endpoint, Status},
};

/// Endpoints that are shown at most.
const ENDPOINTS: usize = 64;
/// Records that are kept.
const RECORDS: usize = 256;
/// Looks whose rate is kept.
const HISTORY: usize = 120;

/// An endpoint and what it did since the look before.
#[derive(Clone, Debug)]
pub(super) struct Busy {
    pub(super) endpoint: Endpoint,
    pub(super) per_second: u64,
}

/// One look.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) status: Status,
    pub(super) uptime: u64,
    /// Counters that moved, with their rate: the fastest first.
    pub(super) rates: Vec<(String, u64)>,
    /// Requests a second, of the last looks.
    pub(super) history: Vec<u64>,
    /// The busiest endpoints, then the ones that did most so far.
    pub(super) endpoints: Vec<Busy>,
    /// Records, the newest last.
    pub(super) records: Vec<Record>,
    /// Why the last look failed.
    pub(super) trouble: Option<String>,
}

/// What is remembered from look to look.
#[derive(Debug, Default)]
pub(super) struct Follower {
    time: u64,
    counters: Vec<u64>,
    decided: HashMap<u64, u64>,
    history: VecDeque<u64>,
    last: Option<Cursor>,
    records: VecDeque<Record>,
}

impl Follower {
    /// Asks the driver for everything.
    pub(super) fn look(&mut self, host: &mut dyn Host) -> Result<Look, Failure> {
        let transport = host
            .open(Access::Read)
            .map_err(|error| Failure::from(Error::opening(error)))?;
        let mut driver = Driver::new(transport);
        let now = host.now();
        let elapsed = if self.time == 0 {
            0
        } else {
            now.saturating_sub(self.time)
        };
        let (status, started) = everything(&mut driver)?;
        let rates = self.rates(&mut driver, elapsed)?;
        let endpoints = self.endpoints(&mut driver, &status.clients, elapsed)?;
        self.read_records(&mut driver)?;
        self.time = now;
        Ok(Look {
            status,
            uptime: now.saturating_sub(started),
            rates,
            history: self.history.iter().copied().collect(),
            endpoints,
            records: self.records.iter().cloned().collect(),
            trouble: None,
        })
    }

    fn rates(&mut self, driver: &mut AnyDriver, elapsed: u64) -> Result<Vec<(String, u64)>, Failure> {
        let values = driver.counters()?.values;
        let before = std::mem::replace(&mut self.counters, values);
        let added = |index: usize, value: u64| value.saturating_sub(before.get(index).copied().unwrap_or(value));
        let rate = |(index, &value): (usize, &u64)| {
            let name = COUNTERS.get(index).map_or("(new)", |(_, name, _)| name);
            (name.to_owned(), per_second(added(index, value), elapsed))
        };
        let mut rates: Vec<(String, u64)> = self.counters.iter().enumerate().map(rate).collect();
        let requests = rates
            .iter()
            .filter(|(name, _)| name.starts_with("requests_"))
            .map(|(_, rate)| rate)
            .sum();
        self.history.push_back(requests);
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        rates.retain(|(_, rate)| *rate != 0);
        rates.sort_by_key(|(_, rate)| std::cmp::Reverse(*rate));
        Ok(rates)
    }

    fn endpoints(&mut self, driver: &mut AnyDriver, clients: &[Client], elapsed: u64) -> Result<Vec<Busy>, Failure> {
        let before = std::mem::take(&mut self.decided);
        let mut busiest = Vec::new();
        let mut endpoints = driver.endpoints();
        loop {
            let page = endpoints.next_page()?;
            if page.is_empty() {
                break;
            }
            for info in page {
                self.decided.insert(info.id, info.decided);
                let old = before.get(&info.id).copied().unwrap_or(info.decided);
                busiest.push((info.decided.saturating_sub(old), info));
            }
            // All but the busiest of each page are forgotten.
            busiest.sort_by_key(|(added, info)| std::cmp::Reverse((*added, info.decided, info.id)));
            busiest.truncate(ENDPOINTS);
        }
        let image = |id| {
            clients
                .iter()
                .find(|client| client.id == id)
                .map_or("", |client| client.image.as_str())
        };
        let busy = busiest.iter().map(|(added, info)| Busy {
            endpoint: Endpoint::new(info, image(info.client)),
            per_second: per_second(*added, elapsed),
        });
        Ok(busy.collect())
    }

    fn read_records(&mut self, driver: &mut AnyDriver) -> Result<(), Failure> {
        let mut entries = Vec::new();
        loop {
            let batch = driver.read_audit(0, u32::MAX)?.entries;
            if batch.is_empty() || entries.len() > 1 << 16 {
                break;
            }
            entries.extend(
                batch
                    .into_iter()
                    .filter(|entry| self.last.is_none_or(|last| Cursor::of(entry) > last)),
            );
        }
        entries.sort_by_key(Cursor::of);
        let Some(newest) = entries.last() else { return Ok(()) };
        self.last = Some(Cursor::of(newest));
        let (names, _) = directory(driver)?;
        let skipped = entries.len().saturating_sub(RECORDS);
        self.records
            .extend(entries.iter().skip(skipped).map(|entry| Record::new(entry, &names)));
        let excess = self.records.len().saturating_sub(RECORDS);
        self.records.drain(..excess);
        Ok(())
    }
}

/// Rate of what was added in that time (100 ns).
fn per_second(added: u64, elapsed: u64) -> u64 {
    added.saturating_mul(SECOND).checked_div(elapsed).unwrap_or(0)
}

/// What was lost, as one number.
pub(super) fn losses(books: &Books) -> u64 {
    books.suppressed_endpoint_budget + books.suppressed_client_budget + books.dropped
}
