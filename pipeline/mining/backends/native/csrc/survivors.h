/* What survives a kernel's test, for one level of instruction sets: included by survivors.c once a level, with LEVEL
 * (its name), ATTRIBUTES of its functions, and `within_row` and `add_wanted`, which compare sums. */
#define JOINED(a, b) a##_##b
#define NAME_OF(a, b) JOINED(a, b)
#define NAMED(a) NAME_OF(a, LEVEL)

/* Whether some pair of the anchor may want a candidate at about this distance. */
ATTRIBUTES static inline int NAMED(matters)(const Scan *s, int64_t anchor, float distance, float relative) {
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
ATTRIBUTES static __attribute__((noinline)) void NAMED(score)(Scan *s, int64_t anchor, int64_t candidate) {
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
#define LOOK(half)                                                                                  \
    for (int i = 0; i < s->num_waiting; i++) {                                                      \
        const int64_t anchor = s->waiting[i].anchor, candidate = s->waiting[i].candidate;           \
        const void *x = vector_of(s->anchors, half, s->d, anchor),                                  \
                   *y = vector_of(s->candidates, half, s->d, candidate);                            \
        if (!NAMED(matters)(s, anchor, approximate_distance(x, y, s->d, half), relative)) continue; \
        s->num_rescored++;                                                                          \
        NAMED(score)(s, anchor, candidate);                                                         \
    }
ATTRIBUTES static void NAMED(drain)(Scan *s) {
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

ATTRIBUTES static void NAMED(take_sums)(Scan *s, int64_t block, int64_t lane, int64_t candidate, int64_t num_rows,
                                        const uint32_t *sums, const uint32_t *start, const uint32_t *width) {
    const uint32_t mask = s->kernel->sum_bits == 16 ? 0xffff : 0xffffffff;
    const uint32_t *own = s->limits + (s->first_slot[block] + 1) * 2 * LANES + lane;
    const int64_t slots = s->first_slot[block + 1] - s->first_slot[block] - 1;
    uint32_t lo[UNIT], wanted[MOST_ROWS] = {0};
    int any = 0;
    for (int l = 0; l < UNIT; l++) lo[l] = -start[l];
    if (slots > 0 && slots <= FEW_SLOTS) /* look at every pair's own interval */
        for (int64_t slot = 0; slot < slots; slot++)
            any |= NAMED(add_wanted)(wanted, sums, num_rows, lo, own + slot * 2 * LANES, mask);
    else
        for (int r = 0; r < num_rows; r++) {
            wanted[r] = NAMED(within_row)(sums + r * UNIT, width);
            any = 1;
            if (slots == 0 || 8 * __builtin_popcount(wanted[r]) < slots)
                continue; /* few: scoring them all is cheaper */
            wanted[r] = 0;
            for (int64_t slot = 0; slot < slots; slot++)
                NAMED(add_wanted)(wanted + r, sums + r * UNIT, 1, lo, own + slot * 2 * LANES, mask);
        }
    if (any) take_survivors(s, block * LANES + lane, candidate, num_rows, wanted);
}

ATTRIBUTES static Extent NAMED(measure)(const void *x, int64_t d, int half) {
    return FOR_BOTH_TYPES(half, measure, x, d);
}

ATTRIBUTES static Residual NAMED(residual)(const void *q, const void *x, int64_t k, double scale, int bytes, int half) {
    if (bytes == 1) return FOR_BOTH_TYPES(half, measure_residual, q, x, k, scale, 1);
    return FOR_BOTH_TYPES(half, measure_residual, q, x, k, scale, 2);
}

ATTRIBUTES static Residual NAMED(bfloat16_residual)(const void *x, int64_t k, int parts, int half) {
    return FOR_BOTH_TYPES(half, bfloat16_residual, x, k, parts);
}

ATTRIBUTES static void NAMED(bfloat16_row)(void *to, const void *x, int64_t k, int part, int half) {
    FOR_BOTH_TYPES(half, bfloat16_row, to, x, k, part);
}

ATTRIBUTES static void NAMED(round_row)(void *q, const void *x, int64_t k, float scale, int bytes, int half) {
    if (bytes == 1) FOR_BOTH_TYPES(half, round_row, q, x, k, scale, 1);
    else FOR_BOTH_TYPES(half, round_row, q, x, k, scale, 2);
}
#undef NAMED
#undef NAME_OF
#undef JOINED
#undef LEVEL
#undef ATTRIBUTES
