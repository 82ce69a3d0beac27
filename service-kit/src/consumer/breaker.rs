//! Stops a partition before a bad deploy drains it into the dead letters.

/// This many poisons one after the other are bad data; one more is a bad build.
const CONSECUTIVE: u32 = 5;
/// From this many records on, the share of poisons counts.
const ENOUGH: u64 = 500;
/// One in this many may be poison.
const ONE_IN: u64 = 100;
/// Older records count half, and half again.
const WINDOW: u64 = 10_000;

/// Counts the poisons of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Breaker {
    consecutive: u32,
    records: u64,
    poisons: u64,
    never: bool,
}

impl Breaker {
    /// One that never trips.
    pub(super) fn patient() -> Self {
        Self {
            never: true,
            ..Self::default()
        }
    }

    /// Takes in one record, in order; whether it was one poison too many.
    pub(super) fn trips(&mut self, poison: bool) -> bool {
        if self.records >= WINDOW {
            self.records /= 2;
            self.poisons /= 2;
        }
        self.records += 1;
        self.poisons += u64::from(poison);
        self.consecutive = if poison { self.consecutive + 1 } else { 0 };
        poison
            && !self.never
            && (self.consecutive > CONSECUTIVE
                || (self.records >= ENOUGH && self.poisons * ONE_IN > self.records))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_poison_in_a_row_trips() {
        let mut breaker = Breaker::default();
        assert!((0..5).all(|_| !breaker.trips(true)));
        assert!(breaker.clone().trips(true));
        assert!(!breaker.trips(false));
        assert!((0..5).all(|_| !breaker.trips(true)));
    }

    #[test]
    fn more_than_one_in_a_hundred_trips_once_there_are_enough() {
        let mut breaker = Breaker::default();
        let trip = (1..=2000).find(|n| breaker.trips(n % 50 == 0));
        assert_eq!(trip, Some(500));
        let mut breaker = Breaker::default();
        assert_eq!((1..=50_000).find(|n| breaker.trips(n % 100 == 0)), None);
    }

    #[test]
    fn a_few_early_ones_do_not_trip() {
        let mut breaker = Breaker::default();
        assert!((1..=400).all(|n| !breaker.trips(n % 20 == 0)));
    }
}
