// SPDX-License-Identifier: Apache-2.0
// amp_steps.cuh: the operands of an optimizer's step, of which only the gradient has two dtypes.
#pragma once
#include "amp_lists.cuh"

// The FP16 copy of a parameter, where it has one, and its FP32 master.
constexpr int GRADIENT = 0, COPY = 1, MASTER = 2, FIRST = 3, SECOND = 4;

template <int N>
__device__ __forceinline__ void store_parameter(const Entry& entry,
                                                const Place<N>& place,
                                                const float (&p)[N]) {
    place.template store<float>(entry, MASTER, p);
    if (entry.address[COPY]) place.template store<uint16>(entry, COPY, p);
}
