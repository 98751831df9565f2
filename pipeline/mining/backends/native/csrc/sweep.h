#ifndef MOTHERLODE_SWEEP_ROWS
#define MOTHERLODE_SWEEP_ROWS
#define ROWS_2(x) x(0) x(1)
#define ROWS_6(x) ROWS_2(x) x(2) x(3) x(4) x(5)
#define ROWS_12(x) ROWS_6(x) x(6) x(7) x(8) x(9) x(10) x(11)
#define JOINED_ROWS(rows) ROWS_##rows
#define NAME_OF_ROWS(rows) JOINED_ROWS(rows)
#define BEGIN(r) VECTOR left##r = start[0], right##r = start[VECTORS - 1];
#define ADD(r)                                                             \
    {                                                                      \
        const VECTOR candidate = BROADCAST(c + r * 4);                     \
        left##r = MULTIPLY(left##r, candidate, left);                      \
        if (VECTORS == 2) right##r = MULTIPLY(right##r, candidate, right); \
    }
#define COMPARE(r)                                              \
    nearest = NEARER(nearest, MAGNITUDE(PLUS(left##r, shift))); \
    if (VECTORS == 2) nearest_right = NEARER(nearest_right, MAGNITUDE(PLUS(right##r, shift_right)));
#define TEST(r)                                                                                 \
    wanted[r / 2] |= (uint64_t)INSIDE(MAGNITUDE(PLUS(left##r, shift)), reach[0]) << r % 2 * 32; \
    if (VECTORS == 2)                                                                           \
        wanted[r / 2] |= (uint64_t)INSIDE(MAGNITUDE(PLUS(right##r, shift_right)), reach[1]) << (r % 2 * 32 + HALF % 32);
#define COMPARE_HULL(r)                            \
    nearest = NEARER(nearest, MAGNITUDE(left##r)); \
    if (VECTORS == 2) nearest_right = NEARER(nearest_right, MAGNITUDE(right##r));
#define HALF (LANES / PARTS / VECTORS)
#endif
/* A kernel: `num_rows` packed candidates past one block of anchors, ROWS at a time, with sums in registers from
 * their start (-lo) to their test. Included once a kernel, with
 *
 *   NAME, ATTRIBUTES     of the function
 *   VECTOR, VECTORS      a register, and how many (1 or 2) hold anchors at once; VECTORS * PARTS hold a block's lanes
 *   ROWS                 candidates whose sums the registers hold: 2, 6 or 12
 *   BROADCAST(p)         a candidate's word in all lanes
 *   MULTIPLY(sum, c, a)  sum + products of a word of candidates and anchors
 *   PLUS(x, y), MINUS(x, y)
 *   MAGNITUDE(x)         what the test takes of a sum, which began at a slot's start
 *   NEARER(x, y)         the smaller of two
 *   INSIDE(x, reach)     the lanes that are within reach, as bits
 *
 * Sums are variables, not an array: GCC 12 keeps an array in memory.
 */
#undef EACH_ROW
#define EACH_ROW(x) NAME_OF_ROWS(ROWS)(x)
ATTRIBUTES void NAME(Scan *s, int64_t block, int64_t row, int64_t num_rows) {
    const int64_t words = s->words;
    for (; num_rows > 0; row += ROWS, num_rows -= ROWS)
        for (int part = 0; part < PARTS; part++) {
            const VECTOR *a = (const VECTOR *)s->packed_anchors + (block * words * PARTS + part) * VECTORS;
            const char *c = (const char *)s->packed + row * words * 4;
            const VECTOR *start = (const VECTOR *)slot_of(s, block, 0) + part * VECTORS;
            const VECTOR *reach = start + LANES * 4 / (int)sizeof(VECTOR);
            EACH_ROW(BEGIN)
            for (int64_t w = 0; w < words; w++, a += PARTS * VECTORS, c += ROWS * 4) {
                const VECTOR left = a[0], right = a[VECTORS - 1];
                (void)right;
                EACH_ROW(ADD)
            }
            VECTOR nearest = MAGNITUDE(left0), nearest_right = MAGNITUDE(right0);
            EACH_ROW(COMPARE_HULL)
            if (!(INSIDE(nearest, reach[0]) | (VECTORS == 2 ? INSIDE(nearest_right, reach[1]) : 0))) continue;
            const int64_t num_slots = own_slots(s, block);
            const VECTOR begin = start[0], begin_right = start[VECTORS - 1];
            uint64_t wanted[ROWS / 2] = {0};
            for (int64_t slot = 0; slot < num_slots; slot++) { /* its sums would have begun elsewhere */
                start = (const VECTOR *)slot_of(s, block, slot + (num_slots > 1)) + part * VECTORS;
                reach = start + LANES * 4 / (int)sizeof(VECTOR);
                const VECTOR shift = MINUS(start[0], begin), shift_right = MINUS(start[VECTORS - 1], begin_right);
                (void)shift_right;
                if (num_slots > 1) {
                    nearest = MAGNITUDE(PLUS(left0, shift)), nearest_right = MAGNITUDE(PLUS(right0, shift_right));
                    EACH_ROW(COMPARE)
                    if (!(INSIDE(nearest, reach[0]) | (VECTORS == 2 ? INSIDE(nearest_right, reach[1]) : 0))) continue;
                }
                EACH_ROW(TEST)
            }
            take_survivors(s, block * LANES + part * (LANES / PARTS), s->chunk_first + row, 32, ROWS / 2, wanted);
        }
}
#undef NAME
#undef ATTRIBUTES
#undef VECTOR
#undef VECTORS
#undef PARTS
#undef ROWS
#undef BROADCAST
#undef MULTIPLY
#undef MAGNITUDE
#undef NEARER
#undef INSIDE
#undef PLUS
#undef MINUS
