// SPDX-License-Identifier: Apache-2.0
// amp_scale: the loss scale of the next iteration, by one thread.

#include "ptx.cuh"

// What kernels read of a GradScaler and write to it.
struct State {
    float scale, inverse;  // inverse = 1 / scale
    uint32 found;          // whether a gradient was not finite since the last update
    uint32 unused;
    int64 tracker;  // good iterations in a row
};

struct Settings {
    double growth, backoff;
    int64 interval;
    float least, largest;
};

// Adapt the scale to what was found, here or on the host, or (scale > 0) set it.
// tracker: what it becomes; below 0: it goes on.
extern "C" __global__ void __launch_bounds__(1)
    amp_scale(State* state, Settings settings, int32 found, float scale, int64 tracker) {
    State s = *state;
    if (scale > 0) {
        s.scale = scale;
    } else if (found || s.found) {
        const float lower = static_cast<float>(s.scale * settings.backoff);
        s.scale = lower > settings.least ? lower : settings.least;
        s.tracker = 0;
    } else if (++s.tracker >= settings.interval) {
        const float higher = static_cast<float>(s.scale * settings.growth);
        if (higher <= settings.largest) s.scale = higher;
        s.tracker = 0;
    }
    if (tracker < 0)
        s.found = 0;  // an iteration ends
    else
        s.tracker = tracker;
    s.inverse = static_cast<float>(1 / static_cast<double>(s.scale));
    *state = s;
}
