/* The client against a broker that sends anything. No sockets and no clock: the same bytes
 * give the same run on every machine.
 *
 *     fuzz ROUNDS SEED     random, mutated and truncated packets, split at random places
 *
 * Each input is played whole and in pieces, and both must end alike. As a libFuzzer target:
 *     clang -fsanitize=fuzzer,address,undefined -DWORKRS_LIBFUZZER fuzz.c workrs.c */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "workrs.h"

#define CHECK(truth) ((truth) ? (void)0 : (fprintf(stderr, "line %d: %s\n", __LINE__, #truth), abort()))
#define NOWHERE 0xffffffffu
enum { JOBS = 3, INPUT_MAX = 4096, RX = 48, TX = 64 };

typedef struct play {
    const uint8_t *bytes;
    uint32_t count, at, clock, piece_random, split_at, moved, given, heard, said;
    uint8_t *rx;
    workrs_client client;
    workrs_job jobs[JOBS];
    uint32_t told[WORKRS_REJECTED + 1], next[JOBS], lost;
} play;

static const char *const IDS[JOBS] = {"r", "s", "long_id.1"};
static uint32_t hears = NOWHERE; /* how many bytes the broker takes before it takes no more */
static const uint8_t INPUT[] = "0123456789";

static uint32_t draw(uint32_t *random) {
    *random ^= *random << 13;
    *random ^= *random >> 17;
    return *random ^= *random << 5;
}
static void note(uint32_t *digest, uint32_t what) { *digest = (*digest ^ what) * 16777619u; }
/* How much the port moves at once: all, or now and then nothing. */
static uint32_t piece(play *p, uint32_t count) {
    if (p->piece_random == 0) return count;
    uint32_t some = draw(&p->piece_random) % 5;
    return some < count ? some : count;
}
static int32_t take_bytes(void *context, uint8_t *bytes, uint32_t count) {
    play *p = context;
    CHECK(count > 0);
    count = piece(p, count < p->count - p->at ? count : p->count - p->at);
    if (p->split_at != NOWHERE && p->at < p->split_at && count > p->split_at - p->at) count = p->split_at - p->at;
    else if (p->at == p->split_at) p->split_at = NOWHERE, count = 0;
    memcpy(bytes, p->bytes + p->at, count);
    p->at += count;
    p->moved += count;
    return (int32_t)count;
}
static int32_t give_bytes(void *context, const uint8_t *bytes, uint32_t count) {
    play *p = context;
    CHECK(count > 0);
    count = piece(p, count);
    if (count > hears - p->given) count = hears - p->given;
    p->given += count;
    for (uint32_t i = 0; i < count; i++) note(&p->said, bytes[i]);
    p->moved += count;
    return (int32_t)count;
}
static uint32_t clock_ms(void *context) { return ((play *)context)->clock; }
static void add(play *p, uint32_t i) {
    workrs_error error = i == 1 ? workrs_submit(&p->client, &p->jobs[i], IDS[i], INPUT, 10)
                                : workrs_run(&p->client, &p->jobs[i], "f", IDS[i], INPUT, i * 5);
    CHECK(error == WORKRS_OK);
}
static void on_state(void *context, workrs_job *job, const char *text, uint32_t count) {
    play *p = context;
    CHECK(count <= RX && (count == 0 || ((const uint8_t *)text >= p->rx &&
                                         (const uint8_t *)text + count <= p->rx + RX)));
    CHECK(job->state <= WORKRS_REJECTED);
    p->told[job->state]++;
    note(&p->heard, job->state);
    for (uint32_t i = 0; i < count; i++) note(&p->heard, (uint8_t)text[i]);
    if (!workrs_is_final((workrs_state)job->state)) {
        if (job->state == WORKRS_QUEUED) (void)workrs_cancel(&p->client, job);
        if (job->state == WORKRS_RUNNING) (void)workrs_release(&p->client, job);
        return;
    }
    CHECK(workrs_cancel(&p->client, job) == WORKRS_E_UNKNOWN); /* it is ours again */
    add(p, (uint32_t)(job - p->jobs));
}
static void on_bytes(void *context, workrs_job *job, const uint8_t *bytes, uint32_t count,
                     uint32_t offset, uint32_t total) {
    play *p = context;
    uint32_t *next = &p->next[job - p->jobs];
    CHECK(total <= 0x100000u && offset + count <= total && (count > 0 || total == 0));
    CHECK(offset == 0 || offset == *next);
    *next = offset + count;
    if (count > 0 && offset == 0 && bytes[0] == 'F') { /* how much came with it is chance */
        CHECK(workrs_forget(&p->client, job) == WORKRS_OK);
        add(p, (uint32_t)(job - p->jobs));
        *next = NOWHERE;
        count = 1;
    }
    for (uint32_t i = 0; i < count; i++) note(&p->heard, (offset + i) << 8 | bytes[i]);
}
static void look(const play *p) {
    uint32_t count = 0;
    for (const workrs_job *job = p->client.jobs; job != NULL; job = job->next) count++;
    CHECK(count == JOBS);
    CHECK(p->client.asked <= JOBS);
}

/* Play *bytes* as one connection; the broker is then silent until the client leaves it. */
static void play_once(play *p, const uint8_t *bytes, uint32_t count, uint32_t piece_random,
                      uint32_t split_at) {
    static const workrs_timing timing = WORKRS_TIMING;
    memset(p, 0, sizeof *p);
    p->bytes = bytes;
    p->count = count;
    p->clock = 0xffffff00u;
    p->piece_random = piece_random;
    p->split_at = split_at;
    p->rx = malloc(RX);
    uint8_t *tx = malloc(TX);
    const workrs_config config = {
        .device = "d", .nodes = 3, .rx = p->rx, .rx_bytes = RX, .tx = tx, .tx_bytes = TX,
        .context = p, .send = give_bytes, .recv = take_bytes, .clock_ms = clock_ms,
        .on_state = on_state, .on_bytes = on_bytes, .timing = timing};
    CHECK(workrs_init(&p->client, &config, 7) == WORKRS_OK);
    for (uint32_t i = 0; i < JOBS; i++) add(p, i);
    CHECK(workrs_begin(&p->client) == WORKRS_OK);
    workrs_error error = WORKRS_OK;
    for (uint32_t idle = 0; error == WORKRS_OK && idle < 40; idle++) {
        uint32_t before = p->moved;
        error = workrs_poll(&p->client);
        look(p);
        (void)workrs_wait_ms(&p->client);
        if (p->moved != before) idle = 0; /* in pieces a poll may bring nothing, but not 40 */
    }
    for (uint32_t i = 0; error == WORKRS_OK && i < 200; i++) {
        p->clock += 500;
        for (uint32_t again = 0; error == WORKRS_OK && again < 40; again++)
            error = workrs_poll(&p->client);
        look(p);
    }
    CHECK(error != WORKRS_OK); /* whoever is silent is left */
    CHECK(workrs_poll(&p->client) == WORKRS_E_OFFLINE);
    CHECK(*workrs_strerror(error) != '?');
    p->lost = 0u - (uint32_t)error;
    free(p->rx);
    free(tx);
}

static void play_again(const play *whole, uint32_t piece_random, uint32_t split_at) {
    static play pieces;
    play_once(&pieces, whole->bytes, whole->count, piece_random, split_at);
    CHECK(whole->heard == pieces.heard);
    CHECK(whole->lost == pieces.lost && whole->at == pieces.at);
}
static void play_both(const uint8_t *bytes, uint32_t count, uint32_t piece_random, play *whole) {
    play_once(whole, bytes, count, 0, NOWHERE);
    play_again(whole, piece_random | 1u, NOWHERE);
}

#ifdef WORKRS_LIBFUZZER
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static play whole;
    if (size > 0 && size < INPUT_MAX) play_both(data + 1, (uint32_t)size - 1, data[0], &whole);
    return 0;
}
#else

/* Well-formed streams to begin from. */
static uint32_t put_message(uint8_t *to, uint8_t first, const char *topic, const char *payload,
                            uint32_t lie) {
    uint32_t topic_bytes = (uint32_t)strlen(topic), count = (uint32_t)strlen(payload), at = 0;
    uint32_t left = 2 + topic_bytes + (first & 2u) + count;
    if (lie + 3 < left) left -= lie; /* the packet says that it is shorter */
    to[at++] = first;
    if (left > 127) to[at++] = (uint8_t)(left | 0x80u);
    to[at++] = (uint8_t)(left > 127 ? left >> 7 : left);
    to[at++] = 0;
    to[at++] = (uint8_t)topic_bytes;
    memcpy(to + at, topic, topic_bytes);
    at += topic_bytes;
    if (first & 2u) to[at++] = 0, to[at++] = 9;
    memcpy(to + at, payload, count);
    return at + count;
}
static uint32_t put_bytes(uint8_t *to, const char *bytes, uint32_t count) {
    memcpy(to, bytes, count);
    return count;
}
static uint32_t make_stream(uint8_t *to, uint32_t *random) {
    static const char *const TOPICS[] = {
        "workrs/1/down/d/r/state", "workrs/1/down/d/r/out", "workrs/1/down/d/s",
        "workrs/1/down/d/long_id.1/state", "workrs/1/down/d/long_id.1/out", "workrs/1/down/d/x",
        "workrs/1/down/d/r", "workrs/1/down/e/r/state", "workrs/1/node/n/state",
        "workrs/1/down/d/r/a-topic-that-does-not-fit-the-buffer/state"};
    static const char *const PAYLOADS[] = {
        "accepted", "queued", "running 0.5 half", "succeeded", "succeeded workrs:sha256/00",
        "failed a reason that is quite a bit longer than the buffer it is read into, and cut",
        "rejected no", "waiting", "", "Forget it, and the rest of this that fills more than one whole buffer", "cancelled ", "expired two", "   ", "runn",
        "{\"v\": 1, \"job\": \"s\", \"state\": \"accepted\"}",
        "{\"state\": \"waiting\", \"quorum\": false}",
        "{\"a\": [{\"state\": \"failed\"}], \"state\": \"running\", \"progress\": 0.25}",
        "{\"state\":\"succeeded\",\"result\":\"\\\"state\\\": \\u0041\",\"x\":{\"state\":\"failed\"}}",
        "{\"state\": \"rejected\", \"retry_after_s\": 30.5}", "[\"state\", \"failed\"]",
        "{\"state\": \"running\", \"quorum\": false, \"checkpoint\": {\"epoch\": 1}}"};
    static const uint8_t FIRST[] = {0x30, 0x31, 0x32, 0x33, 0x3a, 0x32};
    uint32_t at = put_bytes(to, "\x20\x02\0\0", 4), messages = 1 + draw(random) % 12;
    while (messages-- > 0) {
        uint32_t kind = draw(random) % 12;
        if (kind == 0) at += put_bytes(to + at, "\x90\x03\0\1\1", 5);
        else if (kind == 1) at += put_bytes(to + at, "\x40\x02\0\1", 4);
        else if (kind == 2) at += put_bytes(to + at, "\xd0\0", 2);
        else if (kind == 3) at += put_bytes(to + at, "\xb0\x02\0\1", 4);
        else at += put_message(to + at, FIRST[draw(random) % sizeof FIRST],
                               TOPICS[draw(random) % (sizeof TOPICS / sizeof *TOPICS)],
                               PAYLOADS[draw(random) % (sizeof PAYLOADS / sizeof *PAYLOADS)],
                               draw(random) % 16 ? 0 : draw(random) % 40);
    }
    return at;
}
static uint32_t mutate(uint8_t *bytes, uint32_t count, uint32_t *random) {
    for (uint32_t left = draw(random) % 4; left > 0 && count > 0; left--) {
        uint32_t at = draw(random) % count, what = draw(random) % 5;
        if (what == 0) bytes[at] ^= (uint8_t)(1u << draw(random) % 8);
        else if (what == 1) bytes[at] = (uint8_t)draw(random);
        else if (what == 2) count = at;
        else if (what == 3) memmove(bytes + at, bytes + at + 1, --count - at);
        else if (count < INPUT_MAX) memmove(bytes + at + 1, bytes + at, count++ - at);
    }
    return count;
}

int main(int argc, char **argv) {
    static uint8_t bytes[INPUT_MAX];
    static play whole, cut;
    uint32_t rounds = argc > 1 ? (uint32_t)atoi(argv[1]) : 1000;
    uint32_t random = argc > 2 ? (uint32_t)atoi(argv[2]) * 2654435769u | 1u : 1;
    uint32_t lost[16] = {0}, told[WORKRS_REJECTED + 1] = {0}, splits = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t count = make_stream(bytes, &random);
        if (round % 16 == 15) /* noise, behind a welcome or not */
            for (uint32_t i = round % 32 == 15 ? 0 : 4; i < count; i++) bytes[i] = (uint8_t)draw(&random);
        else if (round % 4 != 0) count = mutate(bytes, count, &random);
        play_both(bytes, count, draw(&random), &whole);
        lost[whole.lost]++;
        for (int i = 0; i <= WORKRS_REJECTED; i++) told[i] += whole.told[i];
        if (round % 256 != 0) continue;
        /* Split after every byte, and cut off after every byte. */
        for (uint32_t end = 1; end <= count; end++, splits++) play_again(&whole, 0, end);
        for (uint32_t end = 0; end <= count; end++) play_both(bytes, end, end + 1, &cut);
    }
    /* A broker that welcomes the device and then takes no more, after any number of bytes. */
    for (hears = 20; hears < 200; hears++) {
        play_both((const uint8_t *)"\x20\x02\0\0", 4, hears, &whole);
        CHECK(whole.lost == 0u - (uint32_t)WORKRS_E_SILENT || whole.lost == 0u - (uint32_t)WORKRS_E_NO_ANSWER);
    }
    printf("rounds %u splits %u\nlost", rounds, splits);
    for (int i = 0; i < 16; i++) printf(" %u", lost[i]);
    printf("\ntold");
    for (int i = 0; i <= WORKRS_REJECTED; i++) printf(" %u", told[i]);
    printf("\n");
    return 0;
}
#endif
