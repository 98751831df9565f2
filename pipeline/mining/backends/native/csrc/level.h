/* What is done to single vectors, for one level of instruction sets: looks at survivors, and rounding. Included once a
 * level, by a file that names its target for all that follows, since GCC takes generic vectors apart for the target of
 * the function that they stand in before it inlines that. LEVEL is the table to define. */
#include "vectors.h"

/* Whether some pair of the anchor may want a candidate at about this distance. */
static inline int matters(const Scan *s, int64_t anchor, float distance, float relative) {
    const float slack = distance * relative + 0x1p-100f;
    float nearest = distance - slack, farthest = distance + slack;
    for (int64_t pair = s->first_pair[anchor + 1] - 1; pair >= s->first_pair[anchor]; pair--) {
        if (!(s->lower[pair] < farthest)) continue;
        /* the pairs before it do not want what it does not want: their bands end sooner, their bests are nearer */
        return nearest < s->upper[pair] && nearest <= s->best[pair * s->m + s->m - 1];
    }
    return 0;
}

/* Scores one candidate by the definition and offers it to the pairs of an anchor. */
static __attribute__((noinline)) void score(Scan *s, int64_t anchor, int64_t candidate) {
    const void *x = vector_of(s->anchors, s->half, s->d, anchor),
               *y = vector_of(s->candidates, s->half, s->d, candidate);
    float d = (float)FOR_BOTH_TYPES(s->half, squared_distance, x, y, s->d);
    int64_t id = s->ids[candidate], first = s->first_pair[anchor], low = first, high = s->first_pair[anchor + 1];
    while (low < high) { /* the first pair whose band begins at or beyond d */
        int64_t middle = low + (high - low) / 2;
        if (s->lower[middle] < d) low = middle + 1;
        else high = middle;
    }
    for (int64_t pair = low - 1; pair >= first; pair--) {
        float *best = s->best + pair * s->m;
        int64_t *best_id = s->best_id + pair * s->m, place = s->m - 1;
        if (!(d < s->upper[pair]) || d > best[place] || (d == best[place] && id > best_id[place]))
            return; /* neither do the pairs before it want it: see `matters` */
        for (; place > 0 && (d < best[place - 1] || (d == best[place - 1] && id < best_id[place - 1])); place--) {
            best[place] = best[place - 1];
            best_id[place] = best_id[place - 1];
        }
        best[place] = d;
        best_id[place] = id;
        set_limits(s, anchor, pair - first);
    }
}

/* Looks at those that wait, whose vectors have come from memory by now. */
#define LOOK(half)                                                                           \
    for (int i = 0; i < s->num_waiting; i++) {                                               \
        const int64_t anchor = s->waiting[i].anchor, candidate = s->waiting[i].candidate;    \
        const void *x = vector_of(s->anchors, half, s->d, anchor),                           \
                   *y = vector_of(s->candidates, half, s->d, candidate);                     \
        if (!matters(s, anchor, approximate_distance(x, y, s->d, half), relative)) continue; \
        s->num_rescored++;                                                                   \
        score(s, anchor, candidate);                                                         \
    }
static void drain(Scan *s) {
    const float relative = (float)((double)(s->d + 8) * 0x1p-24 * 1.1);
    s->num_looked_at += s->num_waiting;
    if (s->half) {
        LOOK(1)
    } else {
        LOOK(0)
    }
    s->num_waiting = 0;
}
#undef LOOK

static Extent measure_any(const void *x, int64_t d, int half) { return FOR_BOTH_TYPES(half, measure, x, d); }

static Residual residual_any(const void *q, const void *x, int64_t k, double scale, int bytes, int half) {
    if (bytes == 1) return FOR_BOTH_TYPES(half, measure_residual, q, x, k, scale, 1);
    return FOR_BOTH_TYPES(half, measure_residual, q, x, k, scale, 2);
}

static Residual bfloat16_residual_any(const void *x, int64_t k, int parts, int half) {
    return FOR_BOTH_TYPES(half, bfloat16_residual, x, k, parts);
}

static void bfloat16_row_any(void *to, const void *x, int64_t k, int part, int half) {
    FOR_BOTH_TYPES(half, bfloat16_row, to, x, k, part);
}

static void round_row_any(void *q, const void *x, int64_t k, float scale, int bytes, int half) {
    if (bytes == 1) FOR_BOTH_TYPES(half, round_row, q, x, k, scale, 1);
    else FOR_BOTH_TYPES(half, round_row, q, x, k, scale, 2);
}

const Level LEVEL = {drain, measure_any, residual_any, round_row_any, bfloat16_residual_any, bfloat16_row_any};
