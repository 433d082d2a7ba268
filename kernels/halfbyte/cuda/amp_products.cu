// SPDX-License-Identifier: Apache-2.0
// amp_products: what changes from step to step of Adam, a thread a parameter that has a gradient.
//
// The powers of its betas go on by a product in FP64, unless the step is skipped; coefficients are
// lr / (1 - beta1^t) and sqrt(1 - beta2^t), rounded once from FP64.

#include "amp_lists.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    amp_products(const __grid_constant__ Table table,
                 int32 entries,
                 double* products,
                 float* coefficients,
                 double beta1,
                 double beta2,
                 double lr,
                 const uint8* finite) {
    const int32 i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= entries) return;        // plant: bound
    if (finite && !*finite) return;  // plant: skip
    const Entry& entry = table.entries[i];
    // Of several entries of a parameter one counts.
    if (!(entry.form & IS_FIRST)) return;  // plant: first
    const int64 at = 2 * static_cast<int64>(entry.number);
    const double first = products[at] * beta1, second = products[at + 1] * beta2;
    products[at] = first;
    products[at + 1] = second;
    coefficients[at] = static_cast<float>(lr / (1 - first));
    coefficients[at + 1] = static_cast<float>(sqrt(1 - second));
}
