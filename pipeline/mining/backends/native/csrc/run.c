/* The loop over chunks of candidates, and the room that it works in. */
#include "scan.h"
#include <stdlib.h>
#include <string.h>
#ifdef X86
#include <immintrin.h>
#endif

#define GROUP 32          /* blocks whose anchors stay in L2 */
#define SWEEP_BYTES 12288 /* packed candidates that stay in L1 */
#define SWEEPS 8          /* of a chunk, which is packed at once */
#define FIRST_CHUNK 96    /* candidates after which a product that looks in vain may be given up */
#define PATIENCE 2048     /* candidates' worth of looks in vain that are granted at first */
#define STALE 16 /* looks in vain, for each negative that is sought, at limits that moved while survivors waited */
#define ALIGNMENT 64

static int64_t least(int64_t x, int64_t y) { return x < y ? x : y; }

static int64_t rounded_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

/* Scans from `position` on, until all is scanned or too many looks were in vain. */
static void scan_chunks(Scan *s) {
    int64_t span = -1, chunk = FIRST_CHUNK, num_scanned = 0;
    pack_anchors(s);
    while (s->position < s->n) {
        if (s->position / SPAN != span) {
            span = s->position / SPAN;
            s->span = s->spans + span;
            set_all_limits(s);
        }
        int64_t count = least(least(s->n, (span + 1) * SPAN) - s->position, chunk);
        s->chunk_first = s->position, s->chunk_end = s->position + count;
        pack_candidates(s, s->position, count);
        s->num_asked = s->num_through = 0;
        for (int64_t group = 0; group < s->blocks; group += GROUP)
            for (int64_t row = 0; row < count; row += s->sweep_rows)
                for (int64_t block = group; block < least(group + GROUP, s->blocks); block++)
                    s->kernel->sweep(s, block, row, least(s->sweep_rows, count - row));
        s->level->drain(s);
        s->position += count;
        chunk = s->chunk_rows;
        num_scanned += count;
        double granted = s->most_in_vain * (double)s->a * (double)(num_scanned + PATIENCE) +
                         STALE * (double)(s->first_pair[s->a] * s->m);
        if ((double)(s->num_looked_at - s->num_rescored) > granted) return;
    }
}

/* A float16 passes through subnormal float32 on its way (see `load`): the thread must not flush those to zero. */
unsigned keep_subnormals(void) {
#ifdef X86
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode & ~0x8040u);
    return mode;
#else
    return 0;
#endif
}

void restore_mode(unsigned mode) {
#ifdef X86
    _mm_setcsr(mode);
#endif
    (void)mode;
}

void free_room(Scan *s) {
    void *rooms[] = {s->first_slot, s->limits, s->bases, s->offset, s->packed_anchors, s->packed, s->room, s->q_room};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) free(rooms[i]);
}

static void *zeros(int64_t bytes) {
    void *room = NULL;
    if (posix_memalign(&room, ALIGNMENT, (size_t)bytes + ALIGNMENT)) return NULL;
    return memset(room, 0, (size_t)bytes + ALIGNMENT);
}

int make_room(Scan *s) {
    const Kernel *kernel = s->kernel;
    int64_t row_bytes = s->k * packed_bytes(kernel);
    int64_t piece = kernel->is_twice ? kernel->word_bytes : kernel->piece_bytes;
    s->words = rounded_up(row_bytes, piece) / kernel->word_bytes;
    row_bytes = s->words * kernel->word_bytes * (1 + kernel->is_twice);
    int64_t step = kernel->rows == 16 ? 32 : kernel->rows; /* AMX: two tiles */
    s->sweep_rows = rounded_up(SWEEP_BYTES / (row_bytes * kernel->parts) + 1, step);
    s->chunk_rows = least(SWEEPS * s->sweep_rows, rounded_up(SPAN, step));
    s->blocks = (s->a + LANES - 1) / LANES;
    if (!(s->first_slot = zeros((s->blocks + 1) * 8))) return 0;
    for (int64_t block = 0; block < s->blocks; block++) {
        int64_t most = 1;
        for (int64_t i = block * LANES; i < (block + 1) * LANES && i < s->a; i++)
            if (s->first_pair[i + 1] - s->first_pair[i] > most) most = s->first_pair[i + 1] - s->first_pair[i];
        most = least(most, MOST_SLOTS);
        s->first_slot[block + 1] = s->first_slot[block] + most + (most > 1); /* and their hull */
    }
    int64_t slots = s->first_slot[s->blocks],
            padded_rows = rounded_up(s->chunk_rows > FIRST_CHUNK ? s->chunk_rows : FIRST_CHUNK, 96);
    s->plane_bytes = s->blocks * LANES * s->words * kernel->word_bytes;
    s->packed_plane_bytes = padded_rows * row_bytes;
    s->limits = zeros(slots * 2 * LANES * 4);
    s->bases = zeros(s->a * (int64_t)sizeof(Base));
    s->offset = zeros(s->a * 4);
    s->packed_anchors = zeros(s->plane_bytes * kernel->parts);
    s->packed = zeros(s->packed_plane_bytes * kernel->parts);
    s->room = zeros(row_bytes);
    s->q_room = zeros(s->k * 4);
    if (!s->limits || !s->bases || !s->offset || !s->packed_anchors || !s->packed || !s->room || !s->q_room) return 0;
    /* where a lane has no pair, or fewer than slots: sums begin at 1, and 0 is all that is let through */
    for (int64_t slot = 0; slot < slots; slot++)
        for (int64_t lane = 0; lane < LANES; lane++) {
            uint32_t *start = s->limits + slot * 2 * LANES;
            if (kernel->sum_bits == 16) ((uint16_t *)start)[lane] = 1;
            else if (!kernel->is_float) start[lane] = 1;
            else ((float *)(start + LANES))[lane] = -1;
        }
    return 1;
}

void run(Scan *s, int use_tiles) {
    unsigned mode = keep_subnormals();
    if (use_tiles) begin_tiles();
    if (s->a) scan_chunks(s);
    else s->position = s->n;
    if (use_tiles) end_tiles();
    restore_mode(mode);
}
