/* A kernel of AMX: some steps of 16 or 32 candidates past one block of anchors, and then those that survive. Included
 * once a kernel, with
 *
 *   NAME                 of the element
 *   TILES                of sums that a step leaves to be tested, 2 for 16 candidates
 *   MULTIPLY(s, block, row, sums)
 *   VALUE(sums, tile, r) row r of a tile of sums, of VECTOR
 *   LOAD(p), and PLUS, MINUS, MAGNITUDE, NEARER, INSIDE as in sweep.h
 */
#define JOINED(a, b) a##_##b
#define NAME_OF(a, b) JOINED(a, b)
#define NAMED(a) NAME_OF(a, NAME)
#define STEP_ROWS (SIDE * TILES / 2)

/* What moves sums, which began at the hull's start, to that of a slot as it is now. */
AMX static inline VECTOR NAMED(shift)(const Sweep *sweep, const uint32_t *start, int lane) {
    return MINUS(LOAD(start + lane), LOAD(sweep->begin + lane));
}

/* Notes the tiles of a step that hold a sum inside the hull of its slots. */
AMX static inline void NAMED(note_by_hull)(const Scan *s, int64_t block, Sweep *sweep, int step) {
    const uint32_t *reach = slot_of(s, block, 0) + LANES;
    const Tile *sums = sweep->sums[step];
    for (int tile = 0; tile < TILES; tile++) {
        VECTOR nearest = MAGNITUDE(VALUE(sums, tile, 0)), other = MAGNITUDE(VALUE(sums, tile, 1));
#pragma GCC unroll 7
        for (int r = 2; r < SIDE; r += 2) {
            nearest = NEARER(nearest, MAGNITUDE(VALUE(sums, tile, r)));
            other = NEARER(other, MAGNITUDE(VALUE(sums, tile, r + 1)));
        }
        note(sweep, INSIDE(NEARER(nearest, other), LOAD(reach + tile % 2 * SIDE)), step * TILES + tile, 0);
    }
}

/* Notes those that hold one inside a slot, and the slots: sums stay in registers meanwhile. */
AMX static inline void NAMED(note_by_slots)(const Scan *s, int64_t block, Sweep *sweep, int step) {
    const int64_t num_slots = own_slots(s, block);
    for (int tile = 0; tile < TILES; tile++) {
        const int lane = tile % 2 * SIDE;
        VECTOR sums[SIDE];
#pragma GCC unroll 16
        for (int r = 0; r < SIDE; r++) sums[r] = VALUE(sweep->sums[step], tile, r);
        for (int64_t slot = 1; slot <= num_slots; slot++) {
            const uint32_t *start = slot_of(s, block, slot);
            const VECTOR shift = NAMED(shift)(sweep, start, lane);
            VECTOR nearest = MAGNITUDE(PLUS(sums[0], shift)), other = MAGNITUDE(PLUS(sums[1], shift));
#pragma GCC unroll 7
            for (int r = 2; r < SIDE; r += 2) {
                nearest = NEARER(nearest, MAGNITUDE(PLUS(sums[r], shift)));
                other = NEARER(other, MAGNITUDE(PLUS(sums[r + 1], shift)));
            }
            const unsigned is_inside = INSIDE(NEARER(nearest, other), LOAD(start + LANES + lane));
            note(sweep, is_inside, step * TILES + tile, slot);
        }
    }
}

/* Takes what is inside the slots that were noted; where that is the hull of others, inside those. */
AMX static inline void NAMED(take)(Scan *s, int64_t block, const Sweep *sweep, int64_t candidate) {
    const int64_t num_slots = own_slots(s, block);
    uint64_t wanted[4] = {0};
    for (int i = 0; i < sweep->num_hits; i++) {
        const int tile = sweep->hits[i].tile, lane = tile % 2 * SIDE;
        int64_t slot = sweep->hits[i].slot, last = slot;
        if (slot == 0 && num_slots > 1) slot = 1, last = num_slots;
        for (; slot <= last; slot++) {
            const uint32_t *start = slot_of(s, block, slot);
            const VECTOR shift = NAMED(shift)(sweep, start, lane), reach = LOAD(start + LANES + lane);
#pragma GCC unroll 16
            for (int r = 0; r < SIDE; r++) {
                const VECTOR sum = PLUS(VALUE(sweep->sums[tile / TILES], tile % TILES, r), shift);
                wanted[r / 4] |= (uint64_t)INSIDE(MAGNITUDE(sum), reach) << r % 4 * 16;
            }
        }
        if (i + 1 < sweep->num_hits && sweep->hits[i + 1].tile == tile) continue; /* by another slot */
        take_survivors(s, block * LANES + lane, candidate + tile / 2 * SIDE, 16, 4, wanted);
        wanted[0] = wanted[1] = wanted[2] = wanted[3] = 0;
    }
}

AMX void NAMED(sweep_amx)(Scan *s, int64_t block, int64_t row, int64_t num_rows) {
    Sweep sweep;
    while (num_rows > 0) {
        const int steps = num_rows < MOST_STEPS * STEP_ROWS ? (int)(num_rows + STEP_ROWS - 1) / STEP_ROWS : MOST_STEPS;
        const int has_slots = own_slots(s, block) > 1;
        const int asks_slots = has_slots && s->num_asked >= MANY && 2 * s->num_through > s->num_asked;
        begin_sweep(&sweep, s, block);
        for (int step = 0; step <= steps; step++) {
            if (step < steps) MULTIPLY(s, block, row + step * STEP_ROWS, sweep.sums[step]);
            if (step == 0) continue;
            if (asks_slots) NAMED(note_by_slots)(s, block, &sweep, step - 1);
            else NAMED(note_by_hull)(s, block, &sweep, step - 1);
        }
        if (has_slots && !asks_slots) s->num_asked += steps * TILES, s->num_through += sweep.num_hits;
        NAMED(take)(s, block, &sweep, s->chunk_first + row);
        row += steps * STEP_ROWS;
        num_rows -= steps * STEP_ROWS;
    }
}
#undef NAME
#undef TILES
#undef MULTIPLY
#undef VALUE
#undef VECTOR
#undef LOAD
#undef PLUS
#undef MINUS
#undef MAGNITUDE
#undef NEARER
#undef INSIDE
#undef STEP_ROWS
#undef NAMED
#undef NAME_OF
#undef JOINED
