/* From a pair's band to the integers that a product may be: the bound of scan.h, in float64. */
#include "scan.h"
#include <math.h>

#define UNROUNDED 0x1p-23 /* a published distance is a float32: off by less, relatively, and by less than TINY */
#define TINY 1e-44

/* What holds for all pairs of an anchor, in one span: a product of interest is `low` - far / 2 to `high` - near / 2. */
static Base base_of(const Scan *s, int64_t anchor) {
    const Rounding *a = s->anchor_roundings + anchor, *c = s->span;
    const double norm = a->norm + c->norm;
    Base base = {.most = (a->size + a->residual) * (c->size + c->residual) * (1 + 1e-9) + 1e-300};
    /* sizes are those of filter vectors as they were computed, which may be off by their residuals */
    double error =
        a->residual * (c->size + c->residual) + (a->size + a->residual) * c->residual + a->dropped * c->dropped;
    error = error * (1 + 1e-9) + s->epsilon * norm * norm;
    if (s->kernel->is_float) /* sums of products and a start of their size, in any order */
        error += 2 * ((double)s->k * (s->kernel->parts == 2 ? 3 : 1) + 8) * 0x1p-24 * 1.02 * base.most + 0x1p-120;
    else base.unit = a->scale * c->scale / (s->kernel->parts == 2 ? 256 : 1);
    base.most += error; /* as far as a product that is off by it may be */
    base.low = a->low_half_norm + c->low_half_norm - error;
    base.high = a->high_half_norm + c->high_half_norm + error + 2 * a->tail * c->tail * (1 + 1e-9);
    return base;
}

typedef struct {
    double lowest, highest; /* products that may matter */
} Interval;

/* Of the pairs from `first` to `last` of an anchor: their bounds ascend, see question.py, and so does the nearer of best
 * and upper bound. */
static Interval hull_of(const Scan *s, const Base *base, int64_t first, int64_t last) {
    double best = s->best[last * s->m + s->m - 1], upper = s->upper[last], near = s->lower[first];
    double far = best < upper ? best : upper;
    far += fabs(far) * UNROUNDED + TINY;
    near -= fabs(near) * UNROUNDED + TINY;
    Interval i = {.lowest = base->low - far / 2, .highest = base->high - near / 2};
    if (!(i.lowest > -base->most)) i.lowest = -base->most;
    if (!(i.highest < base->most)) i.highest = base->most;
    return i;
}

static double clamped(double x) { return x < -0x1p60 ? -0x1p60 : x > 0x1p60 ? 0x1p60 : x; }

/* Rounded outwards, by up to one more than `floor` and `ceil`, which are dear on some processors. */
static int64_t below(double x) { return (int64_t)clamped(x) - 1; }
static int64_t above(double x) { return (int64_t)clamped(x) + 1; }

/* Tells the kernel an interval: sums begin at -lo, and what is at most hi - lo, unsigned, survives. Sums of floats
 * begin at minus the middle, and their size is compared. Where nothing is inside, lo is what no product of a sound
 * anchor is.
 */
static void set_slot(const Scan *s, int64_t anchor, int64_t slot, Interval i) {
    const Base *base = s->bases + anchor;
    uint32_t *start = slot_of(s, anchor / LANES, slot), *reach = start + LANES;
    const int64_t lane = anchor % LANES;
    const int nothing = i.lowest > i.highest || !s->compare;
    if (s->kernel->is_float) { /* rounded outwards */
        ((float *)start)[lane] = (float)(-(i.lowest + i.highest) / 2);
        ((float *)reach)[lane] = nothing ? -1 : (float)((i.highest - i.lowest) / 2 * (1 + 1e-6) + 0x1p-21 * base->most);
        return;
    }
    int64_t lo = below(i.lowest * base->unit), hi = above(i.highest * base->unit);
    if (nothing) lo = hi = above(base->most * base->unit) + 1;
    const uint64_t width = (uint64_t)(hi - lo), widest = s->kernel->sum_bits == 16 ? 0xffff : 0xffffffff;
    const uint32_t begin = -((uint32_t)lo + s->offset[anchor]), most = (uint32_t)(width < widest ? width : widest);
    if (s->kernel->sum_bits == 16) {
        ((uint16_t *)start)[lane] = (uint16_t)begin;
        ((uint16_t *)reach)[lane] = (uint16_t)most;
    } else {
        start[lane] = begin;
        reach[lane] = most;
    }
}

/* Turns pair `number` of an anchor into the products that may matter, given its best so far. Pairs share a slot where
 * they are more than the slots. */
void set_limits(Scan *s, int64_t anchor, int64_t number) {
    const int64_t first = s->first_pair[anchor], num_pairs = s->first_pair[anchor + 1] - first;
    const int64_t num_slots = own_slots(s, anchor / LANES);
    const Base *base = s->bases + anchor;
    int64_t slot = number, from = number, to = number;
    if (num_pairs > num_slots) {
        slot = number * num_slots / num_pairs;
        from = (slot * num_pairs + num_slots - 1) / num_slots;
        to = ((slot + 1) * num_pairs + num_slots - 1) / num_slots - 1;
    }
    if (number != to) return; /* the slot ends where its last pair does */
    set_slot(s, anchor, num_slots > 1 ? slot + 1 : 0, hull_of(s, base, first + from, first + to));
    if (num_slots > 1 && to == num_pairs - 1) set_slot(s, anchor, 0, hull_of(s, base, first, first + to));
}

void set_all_limits(Scan *s) {
    for (int64_t anchor = 0; anchor < s->a; anchor++) {
        s->bases[anchor] = base_of(s, anchor);
        for (int64_t number = 0; number < s->first_pair[anchor + 1] - s->first_pair[anchor]; number++)
            set_limits(s, anchor, number);
    }
}
