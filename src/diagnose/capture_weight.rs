//! The part of a stall that each of its captures stands for.

use std::mem;

use crate::evidence::Capture;

/// Returns a weight in nanoseconds for each capture. A capture stands for the
/// time that is nearer to it than to any other capture. All captures of a
/// running thread together stand for no more than its time on the CPU: a
/// capture of a thread that has just woken from a sleep must not stand for the
/// sleep.
pub(super) fn weights_nanos(captures: &[Capture], duration_nanos: u64, on_cpu_nanos: u64) -> Vec<u64> {
    let ends = captures.windows(2).map(|pair| pair[0].age_nanos.midpoint(pair[1].age_nanos));
    let mut begin = 0;
    let mut weights: Vec<_> = ends
        .chain(captures.last().map(|last| duration_nanos.max(last.age_nanos)))
        .map(|end| end.saturating_sub(mem::replace(&mut begin, end)))
        .collect();
    let running_part = |(weight, capture): (&u64, &Capture)| if capture.on_cpu { *weight } else { 0 };
    let running_total: u64 = weights.iter().zip(captures).map(running_part).sum();
    if running_total > on_cpu_nanos {
        let running = weights.iter_mut().zip(captures).filter(|(_, capture)| capture.on_cpu);
        for (weight, _) in running {
            *weight = (u128::from(*weight) * u128::from(on_cpu_nanos) / u128::from(running_total)) as u64;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::TimeSplit;

    fn capture(on_cpu: bool, age_nanos: u64) -> Capture {
        Capture::without_stack(age_nanos, on_cpu, None)
    }

    #[test]
    fn a_capture_stands_for_the_time_nearest_to_it() {
        let at = |age_nanos| capture(false, age_nanos);
        assert_eq!(weights_nanos(&[at(10), at(20), at(40)], 50, 0), [15, 15, 20]);
        assert_eq!(weights_nanos(&[at(10)], 12, 0), [12]);
        assert_eq!(weights_nanos(&[at(10), at(20)], 19, 0), [15, 5], "the stall has not ended");
        assert_eq!(weights_nanos(&[], 19, 0), [0; 0]);
    }

    #[test]
    fn time_on_the_run_queue_does_not_turn_a_computation_into_a_wait() {
        let ms = |ms: u64| ms * 1_000_000;
        let times = TimeSplit { on_cpu: ms(16), run_queue: ms(100), off_cpu: ms(4), unknown: ms(40) };
        let captures = [capture(false, ms(80)), capture(true, ms(158))];
        let on_cpu = times.on_cpu_of(ms(160));
        assert_eq!(on_cpu, ms(128));
        assert_eq!(weights_nanos(&captures, ms(160), on_cpu), [ms(119), ms(41)]);
    }

    #[test]
    fn captures_of_a_running_thread_stand_for_no_more_than_its_cpu_time() {
        assert_eq!(weights_nanos(&[capture(false, 10), capture(true, 30)], 50, 1), [20, 1]);
        assert_eq!(
            weights_nanos(&[capture(true, 10), capture(true, 20)], 20, 4),
            [3, 1],
            "it waited for a CPU"
        );
        assert_eq!(weights_nanos(&[capture(true, 10), capture(false, 30)], 50, 45), [20, 30]);
    }
}
