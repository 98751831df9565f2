/* From a pair's band to the integers that a product may be: the bound of scan.h, in float64. */
#include "scan.h"
#include <math.h>

#define UNROUNDED 0x1p-23 /* a published distance is a float32: off by less, relatively, and by less than TINY */
#define TINY 1e-44
#define FLOAT_RANGE 0x1p28 /* integers that the largest float32 product becomes */
#define FLOAT_ROUNDING 128 /* what turning one into such an integer may cost, in units */

/* What holds for all pairs of an anchor, in one span: a product of interest is `low` - far / 2 to `high` - near / 2. */
static Base base_of(const Scan *s, int64_t anchor) {
    const Rounding *a = s->anchor_roundings + anchor, *c = s->span;
    const double norm = a->norm + c->norm;
    Base base = {.most = (a->size + a->residual) * (c->size + c->residual) * (1 + 1e-9) + 1e-300};
    /* sizes are those of filter vectors as they were computed, which may be off by their residuals */
    double error =
        a->residual * (c->size + c->residual) + (a->size + a->residual) * c->residual + a->dropped * c->dropped;
    error = error * (1 + 1e-9) + s->epsilon * norm * norm;
    if (s->kernel->is_float) { /* sums of products and a start of their size, in any order */
        error += 2 * ((double)s->k * (s->kernel->parts == 2 ? 3 : 1) + 8) * 0x1p-24 * 1.02 * base.most + 0x1p-120;
        base.most += 1e-30; /* keeps units finite */
        base.unit = FLOAT_RANGE / base.most;
        base.slack = FLOAT_ROUNDING;
    } else {
        base.unit = a->scale * c->scale / (s->kernel->parts == 2 ? 256 : 1);
    }
    base.low = a->low_half_norm + c->low_half_norm - error;
    base.high = a->high_half_norm + c->high_half_norm + error + 2 * a->tail * c->tail * (1 + 1e-9);
    return base;
}

typedef struct {
    double lowest, highest; /* products that may matter */
} Interval;

static Interval interval_of(const Scan *s, const Base *base, int64_t pair) {
    double best = s->best[pair * s->m + s->m - 1], upper = s->upper[pair], near = s->lower[pair];
    double far = best < upper ? best : upper;
    far += fabs(far) * UNROUNDED + TINY;
    near -= fabs(near) * UNROUNDED + TINY;
    Interval i = {.lowest = base->low - far / 2, .highest = base->high - near / 2};
    if (!(i.lowest > -base->most)) i.lowest = -base->most;
    if (!(i.highest < base->most)) i.highest = base->most;
    return i;
}

static double clamped(double x) { return x < -0x1p60 ? -0x1p60 : x > 0x1p60 ? 0x1p60 : x; }

/* lo and width of an interval, in integers; where nothing is inside, what no product of a sound anchor is. */
static void set_integers(const Scan *s, uint32_t *limits, int64_t lane, uint32_t offset, const Base *base,
                         const Interval *i) {
    uint64_t widest = s->kernel->sum_bits == 16 ? 0xffff : 0xffffffff;
    int64_t lo = (int64_t)floor(clamped(i->lowest * base->unit - base->slack));
    int64_t hi = (int64_t)ceil(clamped(i->highest * base->unit + base->slack));
    if (i->lowest > i->highest || !s->compare) lo = hi = (int64_t)ceil(clamped(base->most * base->unit)) + 1;
    uint64_t width = (uint64_t)(hi - lo);
    limits[lane] = (uint32_t)lo + offset;
    limits[LANES + lane] = (uint32_t)(width < widest ? width : widest);
}

/* Tells the kernel the hull of an anchor: sums begin at -lo, and what is at most hi - lo, unsigned, survives. */
static void set_start(Scan *s, int64_t block, int64_t lane, const uint32_t *limits, const Base *base,
                      const Interval *i) {
    int64_t place = block * LANES + lane;
    if (s->kernel->sum_bits == 16) {
        ((uint16_t *)(s->start + block * LANES))[lane] = (uint16_t)-limits[lane];
        ((uint16_t *)(s->reach + block * LANES))[lane] = (uint16_t)limits[LANES + lane];
    } else if (!s->kernel->is_float) {
        s->start[place] = -limits[lane];
        s->reach[place] = limits[LANES + lane];
    } else { /* the distance from the middle; rounded outwards */
        float middle = (float)(-(i->lowest + i->highest) / 2), unit = (float)base->unit;
        int nothing = i->lowest > i->highest || !s->compare;
        ((float *)s->start)[place] = middle;
        ((float *)s->reach)[place] =
            nothing ? -1 : (float)((i->highest - i->lowest) / 2 * (1 + 1e-6) + 0x1p-22 * base->most);
        s->to_integer[place] = unit;
        s->from_lo[place] = (uint32_t)(int64_t)llrint(-(double)middle * unit) - limits[lane];
    }
}

/* Turns pair `slot` of an anchor into the products that may matter, given its best so far. */
void set_limits(Scan *s, int64_t anchor, int64_t slot) {
    int64_t block = anchor / LANES, lane = anchor % LANES, first = s->first_pair[anchor];
    int64_t num_slots = s->first_pair[anchor + 1] - first;
    const Base *base = s->bases + anchor;
    Interval i = interval_of(s, base, first + slot);
    uint32_t *hull = s->limits + s->first_slot[block] * 2 * LANES;
    if (s->first_slot[block + 1] - s->first_slot[block] > 1)
        set_integers(s, hull + (1 + slot) * 2 * LANES, lane, s->offset[anchor], base, &i);
    double *ends = s->hull + 2 * anchor; /* bounds ascend from slot to slot: see question.py */
    if (slot == num_slots - 1) ends[0] = i.lowest;
    if (slot == 0) ends[1] = i.highest;
    if (slot == num_slots - 1 || slot == 0) {
        i.lowest = ends[0], i.highest = ends[1];
        set_integers(s, hull, lane, s->offset[anchor], base, &i);
        set_start(s, block, lane, hull, base, &i);
    }
}

void set_all_limits(Scan *s) {
    for (int64_t anchor = 0; anchor < s->a; anchor++) {
        s->bases[anchor] = base_of(s, anchor);
        for (int64_t slot = s->first_pair[anchor + 1] - s->first_pair[anchor] - 1; slot >= 0; slot--)
            set_limits(s, anchor, slot);
    }
}
