/* The client under a test's command: lines in, lines out, sockets to real brokers.
 *
 *     driver DEVICE RX_BYTES TX_BYTES PIECE_BYTES TIMING PORT...
 *
 * in:  run FUNCTION ID SIZE TEXT | spec ID JSON | cancel ID | release ID | forget ID | end
 *      (an input is TEXT repeated to SIZE bytes)
 * out: state ID WORD TEXT | bytes ID OFFSET TOTAL HEX | up PORT | lost ERROR | no ERROR
 * TIMING is the nine times of workrs_timing, with commas between.
 * No send or recv moves more than PIECE_BYTES, so packets are split everywhere. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "workrs.h"

enum { JOBS = 32 };

static struct {
    workrs_job job;
    char id[80], function[80];
    char *input;
    int is_used;
} jobs[JOBS];
static int line = -1;
static uint32_t piece_bytes;
static workrs_client client;

static int32_t moved(ssize_t count) {
    return count > 0 ? (int32_t)count : count < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}
static uint32_t piece(uint32_t count) { return count < piece_bytes ? count : piece_bytes; }
static int32_t line_send(void *context, const uint8_t *bytes, uint32_t count) {
    return (void)context, moved(send(line, bytes, piece(count), MSG_NOSIGNAL));
}
static int32_t line_recv(void *context, uint8_t *bytes, uint32_t count) {
    return (void)context, moved(recv(line, bytes, piece(count), 0));
}
static uint32_t clock_ms(void *context) {
    struct timespec now;
    (void)context, clock_gettime(CLOCK_MONOTONIC, &now);
    /* Wraps around during the test. */
    return (uint32_t)now.tv_sec * 1000u + (uint32_t)(now.tv_nsec / 1000000) - (uint32_t)*(int32_t *)context;
}
static void on_state(void *context, workrs_job *job, const char *text, uint32_t count) {
    (void)context, printf("state %s %s %.*s\n", job->id, workrs_word((workrs_state)job->state), (int)count, text);
    if (!workrs_is_final((workrs_state)job->state)) return;
    for (int i = 0; i < JOBS; i++)
        if (&jobs[i].job == job) free(jobs[i].input), jobs[i].input = NULL, jobs[i].is_used = 0;
}
static void on_bytes(void *context, workrs_job *job, const uint8_t *bytes, uint32_t count,
                     uint32_t offset, uint32_t total) {
    (void)context, printf("bytes %s %u %u ", job->id, offset, total);
    for (uint32_t i = 0; i < count; i++) printf("%02x", bytes[i]);
    printf("\n");
}
static void open_line(const char *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    line = socket(AF_INET, SOCK_STREAM, 0);
    fcntl(line, F_SETFL, O_NONBLOCK);
    setsockopt(line, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(line, (struct sockaddr *)&at, sizeof at) != 0 && errno != EINPROGRESS) close(line), line = -1;
}
static int find_job(const char *id) {
    for (int i = 0; i < JOBS; i++)
        if (id == NULL ? !jobs[i].is_used : jobs[i].is_used && strcmp(jobs[i].id, id) == 0) return i;
    return -1;
}
static workrs_error add(const char *function, const char *id, const char *text, uint32_t size) {
    int at = find_job(NULL);
    if (at < 0) return WORKRS_E_BUSY;
    /* Exactly as large as said, so that a sanitizer sees one byte too many. */
    jobs[at].input = malloc(size ? size : 1);
    for (uint32_t i = 0; i < size; i++) jobs[at].input[i] = text[i % strlen(text)];
    snprintf(jobs[at].id, sizeof jobs[at].id, "%s", id);
    snprintf(jobs[at].function, sizeof jobs[at].function, "%s", function);
    workrs_error error = *function
        ? workrs_run(&client, &jobs[at].job, jobs[at].function, jobs[at].id, jobs[at].input, size)
        : workrs_submit(&client, &jobs[at].job, jobs[at].id, jobs[at].input, size);
    jobs[at].is_used = !error;
    if (error) free(jobs[at].input), jobs[at].input = NULL;
    return error;
}
static workrs_error obey(char *asked) {
    char *verb = strtok(asked, " \n"), *first = strtok(NULL, " \n");
    if (strcmp(verb, "run") == 0) {
        char *id = strtok(NULL, " "), *size = strtok(NULL, " "), *text = strtok(NULL, "\n");
        return add(first, id, text ? text : "", (uint32_t)strtoul(size, NULL, 10));
    }
    if (strcmp(verb, "spec") == 0) {
        char *text = strtok(NULL, "\n");
        return add("", first, text, (uint32_t)strlen(text));
    }
    int at = find_job(first);
    if (at < 0) return WORKRS_E_UNKNOWN;
    if (strcmp(verb, "cancel") == 0) return workrs_cancel(&client, &jobs[at].job);
    if (strcmp(verb, "forget") == 0) {
        workrs_error error = workrs_forget(&client, &jobs[at].job);
        if (!error) free(jobs[at].input), jobs[at].input = NULL, jobs[at].is_used = 0;
        return error;
    }
    workrs_error error = workrs_release(&client, &jobs[at].job);
    if (!error) free(jobs[at].input), jobs[at].input = NULL;
    return error;
}
static void turn(char **ports, int *was_up) {
    uint8_t node = workrs_node(&client);
    if (line < 0 && workrs_wait_ms(&client) == 0) {
        open_line(ports[node]);
        if (line < 0) workrs_unreachable(&client);
        else workrs_begin(&client);
        *was_up = 0;
    }
    struct pollfd look[2] = {{.fd = 0, .events = POLLIN},
                             {.fd = line, .events = workrs_wants_write(&client) ? POLLOUT : POLLIN}};
    uint32_t wait = workrs_wait_ms(&client);
    poll(look, 2, wait < 60000 ? (int)wait : 60000);
    workrs_error error = line >= 0 ? workrs_poll(&client) : WORKRS_OK;
    if (line >= 0 && !error && !*was_up && workrs_is_ready(&client)) *was_up = printf("up %s\n", ports[node]);
    if (error) {
        printf("lost %d %s\n", (int)error, workrs_strerror(error));
        close(line), line = -1;
    }
    if (look[0].revents == 0) return;
    static char asked[70000];
    if (fgets(asked, sizeof asked, stdin) == NULL || strcmp(asked, "end\n") == 0) {
        workrs_end(&client);
        for (int i = 0; i < JOBS; i++) free(jobs[i].input);
        exit(0);
    }
    error = obey(asked);
    if (error) printf("no %d %s\n", (int)error, workrs_strerror(error));
}

static workrs_timing timing_of(char *text) {
    uint32_t times[9] = {0};
    for (int i = 0; i < 9; i++, text++) times[i] = (uint32_t)strtoul(text, &text, 10);
    return (workrs_timing){times[0], times[1], times[2], times[3], times[4],
                           times[5], times[6], times[7], times[8]};
}

int main(int argc, char **argv) {
    if (argc < 7) return 2;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int32_t start = (int32_t)((uint32_t)now.tv_sec * 1000u + 2000u); /* wraps 2 s after the start */
    piece_bytes = (uint32_t)atoi(argv[4]);
    const workrs_config config = {
        .device = argv[1], .nodes = (uint8_t)(argc - 6), .rx_bytes = (uint16_t)atoi(argv[2]),
        .rx = malloc((size_t)atoi(argv[2])), .tx_bytes = (uint16_t)atoi(argv[3]),
        .tx = malloc((size_t)atoi(argv[3])), .context = &start, .send = line_send,
        .recv = line_recv, .clock_ms = clock_ms, .on_state = on_state, .on_bytes = on_bytes,
        .timing = timing_of(argv[5])};
    setvbuf(stdout, NULL, _IOLBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0);
    workrs_error error = workrs_init(&client, &config, 1);
    if (error) return fprintf(stderr, "%s\n", workrs_strerror(error)), 2;
    for (int was_up = 0;;) turn(argv + 6, &was_up);
}
