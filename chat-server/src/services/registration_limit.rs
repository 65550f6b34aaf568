//! Limits how many accounts the clients of one address register.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::services::slow_checks::network_of;

/// Maximum addresses that are remembered. Beyond it, only remembered addresses
/// may register.
const MAX_ADDRESSES: usize = 4096;

/// A token bucket for each address. It holds the accounts of one hour.
#[derive(Debug)]
pub(crate) struct RegistrationLimit {
    /// `None` forbids all registrations.
    per_hour: Option<f64>,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    refilled_at: Instant,
}

impl RegistrationLimit {
    pub(crate) fn new(per_hour: Option<f64>) -> Self {
        Self { per_hour, buckets: Mutex::default() }
    }

    /// Takes a token for one account. Returns `false` if there is none.
    pub(crate) fn take(&self, address: IpAddr) -> bool {
        self.take_at(address, Instant::now())
    }

    fn take_at(&self, address: IpAddr, now: Instant) -> bool {
        let Some(per_hour) = self.per_hour else { return false };
        let network = network_of(address);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&network) {
            // A full bucket is the same as none.
            buckets.retain(|_, bucket| bucket.tokens_at(now, per_hour) < per_hour);
            if buckets.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let bucket = buckets.entry(network).or_insert(Bucket { tokens: per_hour, refilled_at: now });
        let tokens = bucket.tokens_at(now, per_hour);
        *bucket = Bucket { tokens: if tokens >= 1.0 { tokens - 1.0 } else { tokens }, refilled_at: now };
        tokens >= 1.0
    }
}

impl Bucket {
    fn tokens_at(&self, now: Instant, per_hour: f64) -> f64 {
        let hours = now.saturating_duration_since(self.refilled_at).as_secs_f64() / HOUR.as_secs_f64();
        (self.tokens + hours * per_hour).min(per_hour)
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn an_address_has_its_tokens_and_gets_new_ones() {
        let (limit, now) = (RegistrationLimit::new(Some(2.0)), Instant::now());
        let taken = |address, now| (0..5).filter(|_| limit.take_at(address, now)).count();
        assert_eq!(taken(address(1), now), 2);
        assert_eq!(taken(address(2), now), 2);
        assert_eq!(taken(address(1), now + HOUR / 2), 1);
        assert_eq!(taken(address(1), now + 9 * HOUR), 2);
        assert!(!RegistrationLimit::new(None).take(address(1)));
    }

    #[test]
    fn few_addresses_are_remembered() {
        let (limit, now) = (RegistrationLimit::new(Some(1.0)), Instant::now());
        let taken = |now| (0..2 * MAX_ADDRESSES as u32).filter(|&it| limit.take_at(address(it), now)).count();
        assert_eq!(taken(now), MAX_ADDRESSES);
        assert_eq!(taken(now), 0);
        assert_eq!(limit.buckets.lock().expect("no panic").len(), MAX_ADDRESSES);
        assert_eq!(taken(now + HOUR), MAX_ADDRESSES, "old ones make place");
    }
}
