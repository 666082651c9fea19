//! `exp` and `ln` in float32, written so that the compiler turns a loop over them into vector instructions.
//!
//! Only additions, multiplications and bit operations, in a fixed order and never fused: the same bits on every
//! processor and for every vector width. Polynomials and range reduction are those of Cephes (S. Moshier,
//! `expf.c` and `logf.c`).

/// Added and subtracted again, rounds a float32 of magnitude below 2^22 to the nearest integer, which is then
/// also found in the low bits of the sum.
const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23

/// The natural logarithm of 2 in two parts; the first has so few bits that its product with an exponent is exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `exp(x)` for `x` in [-87, 0], at most 2 units in the last place off; below -87 it is `exp(-87)` = 1.6e-38.
///
/// `exp(0)` is exactly 1. NaN and positive arguments give some number of no meaning.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 0.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let exponent = shifted - ROUND;
    let r = x - exponent * LN_2_HIGH - exponent * LN_2_LOW;
    let polynomial = 1.987_569_1e-4 * r + 1.398_199_9e-3;
    let polynomial = polynomial * r + 8.333_452e-3;
    let polynomial = polynomial * r + 4.166_579_6e-2;
    let polynomial = polynomial * r + 1.666_666_5e-1;
    let polynomial = polynomial * r + 0.5;
    let mantissa = polynomial * (r * r) + r + 1.0;
    // The low bits of `shifted` are the exponent: moved into place they make the power of two.
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    mantissa * power
}

/// `ln(x)` for finite `x` from the smallest normal number on, within 1.5e-7 * max(1, |ln x|) of the truth.
///
/// `ln(1)` is exactly 0. Any other argument gives some number of no meaning.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    const HALF_ROOT: u32 = 0x3f35_04f3; // the bits of sqrt(1/2)
    let bits = x.to_bits();
    let exponent = bits.wrapping_sub(HALF_ROOT).cast_signed() >> 23;
    let f = f32::from_bits(bits.wrapping_sub((exponent << 23).cast_unsigned())) - 1.0;
    let exponent = exponent as f32;
    let square = f * f;
    let polynomial = 7.037_683_6e-2 * f - 1.151_461e-1;
    let polynomial = polynomial * f + 1.167_699_87e-1;
    let polynomial = polynomial * f - 1.242_014_1e-1;
    let polynomial = polynomial * f + 1.424_932_3e-1;
    let polynomial = polynomial * f - 1.666_805_8e-1;
    let polynomial = polynomial * f + 2.000_071_5e-1;
    let polynomial = polynomial * f - 2.499_999_4e-1;
    let polynomial = polynomial * f + 3.333_333e-1;
    let tail = polynomial * f * square + exponent * LN_2_LOW - 0.5 * square;
    f + tail + exponent * LN_2_HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units in the last place of the float32 nearest to the truth.
    fn ulps(found: f32, truth: f64) -> f64 {
        let nearest = truth as f32;
        let ulp = f64::from(f32::from_bits(nearest.to_bits() + 1)) - f64::from(nearest);
        (f64::from(found) - truth).abs() / ulp
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let worst = (0..=8_700_000)
            .map(|i| -(i as f32) / 1e5)
            .map(|x| ulps(exp(x), f64::from(x).exp()))
            .fold(0.0, f64::max);
        assert!(worst <= 2.0, "{worst} ulp");
    }

    #[test]
    fn exp_ends_softly() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e4), exp(-87.0));
        assert!(exp(-87.0) < 2e-38);
    }

    #[test]
    fn ln_is_within_its_bound() {
        // Every 97th float32 from the smallest normal number to the largest finite one.
        for bits in (f32::MIN_POSITIVE.to_bits()..f32::INFINITY.to_bits()).step_by(97) {
            let x = f32::from_bits(bits);
            let truth = f64::from(x).ln();
            let error = (f64::from(ln(x)) - truth).abs();
            assert!(error <= 1.5e-7 * truth.abs().max(1.0), "ln({x}) is off by {error}");
        }
        assert_eq!(ln(1.0), 0.0);
    }
}
