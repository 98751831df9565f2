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
#define COMPARE(r)                                 \
    nearest = NEARER(nearest, MAGNITUDE(left##r)); \
    if (VECTORS == 2) nearest_right = NEARER(nearest_right, MAGNITUDE(right##r));
#define TEST(r)                                        \
    wanted[r] = INSIDE(MAGNITUDE(left##r), reach[0]) | \
                (VECTORS == 2 ? INSIDE(MAGNITUDE(right##r), reach[1]) << (LANES / PARTS / VECTORS) % 32 : 0);
#define PUT(r)                      \
    STORE(integers, r, 0, left##r); \
    if (VECTORS == 2) STORE(integers, r, 1, right##r);
#endif
/* A kernel: `num_rows` packed candidates past one block of anchors, ROWS at a time, with sums in registers from
 * their start (-lo) to their test. Included once a kernel, with
 *
 *   NAME, ATTRIBUTES     of the function
 *   VECTOR, VECTORS      a register, and how many (1 or 2) hold anchors at once; VECTORS * PARTS hold a block's lanes
 *   ROWS                 candidates whose sums the registers hold: 2, 6 or 12
 *   BROADCAST(p)         a candidate's word in all lanes
 *   MULTIPLY(sum, c, a)  sum + products of a word of candidates and anchors
 *   MAGNITUDE(x)         what the test takes of a sum less lo
 *   NEARER(x, y)         the smaller of two
 *   INSIDE(x, reach)     the lanes that are within reach, as bits
 *   STORE(integers, r, v, x)  register v of row r, as integers, to its place in one or two units
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
            const VECTOR *start = (const VECTOR *)(s->start + block * LANES) + part * VECTORS;
            const VECTOR *reach = (const VECTOR *)(s->reach + block * LANES) + part * VECTORS;
            EACH_ROW(BEGIN)
            for (int64_t w = 0; w < words; w++, a += PARTS * VECTORS, c += ROWS * 4) {
                const VECTOR left = a[0], right = a[VECTORS - 1];
                (void)right;
                EACH_ROW(ADD)
            }
            VECTOR nearest = MAGNITUDE(left0), nearest_right = MAGNITUDE(right0);
            EACH_ROW(COMPARE)
            if (INSIDE(nearest, reach[0]) | (VECTORS == 2 ? INSIDE(nearest_right, reach[1]) : 0)) {
                const int64_t lane = part * (LANES / PARTS), candidate = s->chunk_first + row;
                if (has_one_slot(s, block)) {
                    uint32_t wanted[ROWS];
                    EACH_ROW(TEST)
                    take_survivors(s, block * LANES + lane, candidate, ROWS, wanted);
                } else {
                    uint32_t integers[2][ROWS][UNIT], starts[LANES], widths[LANES];
                    const uint32_t *hull = s->limits + s->first_slot[block] * 2 * LANES;
                    for (int l = 0; l < LANES; l++)
                        starts[l] = -hull[l], widths[l] = hull[LANES + l]; /* survivors move them */
                    EACH_ROW(PUT)
                    for (int unit = 0; unit < 2 / PARTS; unit++)
                        s->level->take_sums(s, block, lane + unit * UNIT, candidate, ROWS, integers[unit][0],
                                            starts + lane + unit * UNIT, widths + lane + unit * UNIT);
                }
            }
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
#undef STORE
