//! Burning CPU time, measured on the thread's own clock: a waiting or throttled thread burns nothing.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// Computes until this thread has used `budget` more CPU time. Returns what it really used.
pub(crate) fn burn(budget: Duration) -> Duration {
    let start = thread_cpu_time();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    loop {
        // Long enough that reading the clock does not count, short enough to stop within microseconds.
        for _ in 0..2_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        std::hint::black_box(state);
        let used = thread_cpu_time().saturating_sub(start);
        if used >= budget {
            return used;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// On any machine with fewer than eight cores each thread waits for its turn; wall time would be
    /// over long before the CPU time is used.
    #[test]
    fn each_thread_burns_its_own_cpu_time() {
        let budget = Duration::from_millis(40);
        let threads: Vec<_> = (0..8)
            .map(|_| {
                thread::spawn(move || {
                    let before = thread_cpu_time();
                    let reported = burn(budget);
                    (reported, thread_cpu_time().saturating_sub(before))
                })
            })
            .collect();
        for thread in threads {
            let (reported, measured) = thread.join().expect("no panic");
            assert!(
                reported >= budget && measured >= budget,
                "{reported:?} {measured:?}"
            );
            assert!(measured < budget * 2, "{measured:?}");
        }
    }
}
