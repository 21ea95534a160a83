// The read bandwidth of this machine, measured on the spot.
#pragma once

namespace onnuri::cli {

/// Bytes per second that `num_threads` threads read from a buffer larger than any cache (best of a
/// few passes; takes well under a second).
double measure_read_bandwidth(int num_threads);

}  // namespace onnuri::cli
