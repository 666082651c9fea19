//! x
use std::{num::NonZeroUsize, time::Instant};
fn main() {
    let n = 65 * 1000 * 80;
    let mut s = 12345u64;
    let x: Vec<f32> = (0..n).map(|_| { s ^= s << 13; s ^= s >> 7; s ^= s << 17; ((s >> 40) as f32) / 1e6 - 8.0 }).collect();
    let x = ndarray::Array4::from_shape_vec((65, 1000, 8, 10), x).unwrap();
    let which = std::env::var("K").unwrap_or_default();
    let r = tmi_kernels::reduce_logits(x.view(), NonZeroUsize::MIN).unwrap();
    let m = ndarray::Array2::from_shape_fn((65, 1000), |(i, j)| (i * 7919 + j * 104729 + i * j * 31) % 97 > 48);
    let t = ndarray::Array1::from_vec((0..32).collect());
    let mut best = f64::MAX;
    for _ in 0..30 {
        let now = Instant::now();
        match which.as_str() {
            "reduce" => { std::hint::black_box(tmi_kernels::reduce_logits(x.view(), NonZeroUsize::MIN).unwrap()); }
            "features" => { std::hint::black_box(tmi_kernels::leave_one_out_features(r.scaled.view(), m.view(), 0, &[0.5, 2.0], NonZeroUsize::MIN).unwrap()); }
            "lira" => { std::hint::black_box(tmi_kernels::adapted_lira(x.view(), m.view(), t.view(), tmi_kernels::Covariance::Full, NonZeroUsize::MIN).unwrap()); }
            _ => {}
        }
        best = best.min(now.elapsed().as_secs_f64());
    }
    println!("{which} {:.3} ms", best * 1e3);
}
