/* Which node comes next and after how long, when none can be reached: a line "NODE WAIT_MS"
 * for each attempt.
 *
 *     route NODES ATTEMPTS SEED BACKOFF_MIN_MS BACKOFF_MAX_MS [ASLEEP_MS]
 *
 * With ASLEEP_MS, last the wait after so long without a call. */
#include <stdio.h>
#include <stdlib.h>
#include "workrs.h"

static uint32_t now = 0xfffffff0u;
static uint32_t clock_ms(void *context) { return (void)context, now; }
static int32_t give(void *context, const uint8_t *bytes, uint32_t count) {
    return (void)context, (void)bytes, (int32_t)count;
}
static int32_t take(void *context, uint8_t *bytes, uint32_t count) {
    return (void)context, (void)bytes, (void)count, 0;
}
static void on_state(void *context, workrs_job *job, const char *text, uint32_t count) {
    (void)context, (void)job, (void)text, (void)count;
}

int main(int argc, char **argv) {
    static uint8_t rx[64], tx[64];
    workrs_client client;
    if (argc != 6 && argc != 7) return 2;
    const workrs_config config = {
        .device = "pump-7", .nodes = (uint8_t)atoi(argv[1]), .rx = rx, .rx_bytes = sizeof rx,
        .tx = tx, .tx_bytes = sizeof tx, .send = give, .recv = take, .clock_ms = clock_ms,
        .on_state = on_state,
        .timing = {2000, 3000, 2000, 1500, 10000, 300, 2000, (uint32_t)atoi(argv[4]),
                   (uint32_t)atoi(argv[5])}};
    if (workrs_init(&client, &config, (uint32_t)atoi(argv[3])) != WORKRS_OK) return 1;
    for (int i = 0; i < atoi(argv[2]); i++) {
        uint32_t wait = workrs_wait_ms(&client);
        printf("%u %u\n", workrs_node(&client), wait);
        now += wait;
        workrs_unreachable(&client);
    }
    if (argc == 7) {
        now += (uint32_t)strtoul(argv[6], NULL, 10);
        printf("%u %u\n", workrs_node(&client), workrs_wait_ms(&client));
    }
    return 0;
}
