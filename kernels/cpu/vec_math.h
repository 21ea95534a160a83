// Exponential and its relatives over the lanes of the including instruction set.
//
// Included after that set's vec.h, with ONNURI_ISA as its namespace; so it has no include guard
// against other sets and defines nothing that the linker could share.
#pragma once

namespace onnuri::ONNURI_ISA {
namespace {

// e^r for |r| <= ln(2) / 2; the polynomial of Cephes expf.
inline Vec v_exp_reduced(Vec r) {
  Vec p = v_set(1.9875691500e-4f);
  p = v_fma(p, r, v_set(1.3981999507e-3f));
  p = v_fma(p, r, v_set(8.3334519073e-3f));
  p = v_fma(p, r, v_set(4.1665795894e-2f));
  p = v_fma(p, r, v_set(1.6666665459e-1f));
  p = v_fma(p, r, v_set(5.0000001201e-1f));
  return v_add(v_fma(v_mul(r, r), p, r), v_set(1.0f));
}

// 2^x; zero below -126, infinity from 128.
inline Vec v_exp2(Vec x) {
  x = v_min(v_set(128.0f), x);
  const Vec n = v_round(x);
  const Vec r = v_mul(v_sub(x, n), v_set(0.693147181f));
  return v_keep(v_not_less(x, v_set(-126.0f)), v_scale2(v_exp_reduced(r), n));
}

// e^x within about one unit in the last place; zero below -87.33.
inline Vec v_exp(Vec x) {
  const Vec n = v_min(v_set(128.0f), v_round(v_mul(x, v_set(1.44269504f))));
  // ln 2 in two parts: the first has few bits, so n times it is exact.
  Vec r = v_fnma(n, v_set(0.693359375f), x);
  r = v_fnma(n, v_set(-2.12194440e-4f), r);
  const Vec e = v_scale2(v_exp_reduced(r), n);
  const Vec capped = v_select(v_not_greater(x, v_set(88.7228394f)), e, v_set(__builtin_inff()));
  return v_keep(v_not_less(x, v_set(-87.33f)), capped);
}

inline Vec v_sigmoid(Vec x) {
  const Vec one = v_set(1.0f);
  return v_div(one, v_add(one, v_exp(v_sub(v_zero(), x))));
}
inline Vec v_silu(Vec x) { return v_div(x, v_add(v_set(1.0f), v_exp(v_sub(v_zero(), x)))); }

// x (1 + tanh u) / 2 = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
inline Vec v_gelu_tanh(Vec x) {
  const Vec u = v_mul(
      x, v_fma(v_mul(x, x), v_set(2.0f * 0.79788456f * 0.044715f), v_set(2.0f * 0.79788456f)));
  return v_div(x, v_add(v_set(1.0f), v_exp(v_sub(v_zero(), u))));
}

// x times the normal distribution function. With z = |x| / sqrt 2 and t = 1 / (1 + z / 2),
// erfc(z) = e^(-z z) t P(t); P is a minimax fit of ours on z < 5.8 (error 3e-10 before rounding).
inline Vec v_gelu_erf(Vec x) {
  const Vec z = v_mul(v_abs(x), v_set(0.70710678f));
  const Vec t = v_div(v_set(1.0f), v_fma(z, v_set(0.5f), v_set(1.0f)));
  Vec p = v_set(-0.05096486583352089f);
  p = v_fma(p, t, v_set(0.3396581709384918f));
  p = v_fma(p, t, v_set(-0.8768535256385803f));
  p = v_fma(p, t, v_set(0.9738776683807373f));
  p = v_fma(p, t, v_set(-0.34806740283966064f));
  p = v_fma(p, t, v_set(0.43134579062461853f));
  p = v_fma(p, t, v_set(0.24583108723163605f));
  p = v_fma(p, t, v_set(0.28517308831214905f));
  const Vec tail = v_mul(v_mul(v_set(0.5f), t), v_mul(p, v_exp(v_sub(v_zero(), v_mul(z, z)))));
  const Vec share = v_select(v_not_less(x, v_zero()), v_sub(v_set(1.0f), tail), tail);
  return v_mul(x, share);
}

}  // namespace
}  // namespace onnuri::ONNURI_ISA
