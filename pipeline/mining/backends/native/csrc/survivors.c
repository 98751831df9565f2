/* The few candidates that a product could not decide on. */
#include "vectors.h"

/* Keeps survivors until their vectors have come from memory. A word of `wanted` has bits for 64 / `lanes` candidates,
 * and `lanes` anchors each. */
void take_survivors(Scan *s, int64_t anchor, int64_t candidate, int lanes, int num_words, const uint64_t *wanted) {
    const int64_t bytes = s->d * (s->half ? 2 : 4);
    for (int word = 0; word < num_words; word++, candidate += 64 / lanes)
        for (uint64_t bits = wanted[word]; bits; bits &= bits - 1) {
            const int bit = __builtin_ctzll(bits);
            const int64_t a = anchor + bit % lanes, c = candidate + bit / lanes;
            if (a >= s->a || c >= s->chunk_end || s->labels[c] == s->anchor_labels[a]) continue;
            const char *vector = vector_of(s->candidates, s->half, s->d, c);
            for (int64_t line = 0; line < bytes && line < 16 * 64; line += 64) __builtin_prefetch(vector + line);
            s->waiting[s->num_waiting].anchor = a;
            s->waiting[s->num_waiting++].candidate = c;
            if (s->num_waiting == WAITING) s->level->drain(s);
        }
}
