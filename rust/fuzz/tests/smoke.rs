//! Every target for a moment, in the process of the test: what `make fuzz` does for minutes.

use std::time::{Duration, Instant};

use tmi_fuzz::{TARGETS, bytes_of_case};

#[test]
fn no_kernel_breaks_its_promises() {
    for (name, target) in TARGETS {
        let start = Instant::now();
        let mut cases = 0;
        while start.elapsed() < Duration::from_secs(1) {
            let result = std::panic::catch_unwind(|| target(&bytes_of_case(cases)));
            assert!(result.is_ok(), "`cargo run -p tmi-fuzz -- {name} --case {cases}` shows it again");
            cases += 1;
        }
    }
}
