//! How important the process that asks is to the machine: less than everything else.
//!
//! In: nothing. Out: the lowest ordinary priority for processor and disk, for this thread and those it starts
//! afterwards. Not the idle classes: those may wait for ever on a busy machine, and whoever asks for evidence
//! must get it. A thread of nice 19 gets about one part in seventy of a core that another one wants all of, and
//! wakes nobody up; the disk serves it after whatever waits at the usual level.
#![allow(unsafe_code)] // two system calls that no crate of ours wraps

/// The lowest ordinary priority for the processor, setpriority(2).
const NICE: libc::c_int = 19;
/// `IOPRIO_WHO_PROCESS` of linux/ioprio.h: a thread, or the calling one by 0.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
/// Best effort, its last level: `IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 7)`.
const IOPRIO_LAST: libc::c_int = 2 << 13 | 7;

/// Lets everything else go first. Where the system refuses, the question is answered all the same.
pub fn step_back() {
    // SAFETY: setpriority takes numbers only and changes the calling thread's own priority downwards, which is
    // always allowed.
    let refused_cpu = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0;
    // SAFETY: ioprio_set takes numbers only; 0 is the calling thread.
    let refused_disk =
        unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_LAST) } != 0;
    if refused_cpu || refused_disk {
        tracing::debug!(refused_cpu, refused_disk, "priority stays as it is");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_thread_that_steps_back_has_the_lowest_priority_and_its_threads_too() {
        let of_a_thread = std::thread::spawn(|| {
            super::step_back();
            std::thread::spawn(|| std::fs::read_to_string("/proc/thread-self/stat").unwrap()).join().unwrap()
        });
        let stat = of_a_thread.join().unwrap();
        // The 19th field; the name in brackets is the second.
        let nice = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap();
        assert_eq!(nice, "19");
    }
}
