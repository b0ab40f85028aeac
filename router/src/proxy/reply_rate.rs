//! How many replies of our own a source gets, so that forged sources cannot make this node a mirror.

use super::snapshot::ReplyRate;
use core::net::IpAddr;

/// Buckets a worker. Sources that share one share its rate; more buckets cost 8 bytes each.
const BUCKETS: usize = 4096;

/// One leaky bucket a source address, kept as the time at which it will be empty (the generic cell rate algorithm).
#[derive(Clone, Debug)]
pub struct ReplyLimiter {
    empty_at_us: Box<[u64; BUCKETS]>,
}

impl Default for ReplyLimiter {
    fn default() -> Self {
        Self { empty_at_us: Box::new([0; BUCKETS]) }
    }
}

impl ReplyLimiter {
    /// Whether `source` may have one more reply at `now_us`, which never runs backwards. If so, it is counted.
    #[inline]
    pub fn allows(&mut self, rate: ReplyRate, source: IpAddr, now_us: u64) -> bool {
        if rate.per_second == 0 {
            return true;
        }
        let bits = match source {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            // A stranger owns a /64 as easily as an address.
            IpAddr::V6(v6) => v6.to_bits() >> 64,
        };
        let hash = (bits as u64 ^ (bits >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let empty_at = &mut self.empty_at_us[(hash >> 52) as usize];
        let interval_us = (1_000_000 / u64::from(rate.per_second)).max(1);
        let full = interval_us * u64::from(rate.burst.max(1));
        let after = (*empty_at).max(now_us) + interval_us;
        let allowed = after - now_us <= full;
        if allowed {
            *empty_at = after;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut limiter = ReplyLimiter::default();
        let rate = ReplyRate { per_second: 10, burst: 5 };
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let burst = (0..100).filter(|_| limiter.allows(rate, a, 1_000)).count();
        assert_eq!(burst, 5);
        assert!(limiter.allows(rate, b, 1_000));
        let second = (0..1000).filter(|i| limiter.allows(rate, a, 1_000 + i * 1_000)).count();
        assert_eq!(second, 9);
        let unlimited = ReplyRate { per_second: 0, burst: 0 };
        assert!((0..1000).all(|_| limiter.allows(unlimited, a, 1_000)));
    }
}
