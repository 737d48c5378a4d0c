/* Load for an HTTP/1.1 server on loopback, and what came back.

       load FILE PORT CONNECTIONS SECONDS RATE COUNT

   FILE holds whole requests, each behind its length as a little-endian u32; they are sent in turn.
   With RATE 0 every connection sends its next request as soon as it has an answer. Otherwise RATE
   requests a second are due, and a latency begins when its request was due, sent or not. It ends
   after SECONDS, or after COUNT requests if that isn't 0, and then waits for every answer.

   Prints one line of JSON, and the first answer that is no 200 on the standard error. `charged` is
   the sum of the header x-cost-nanos over the 200s. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, ROOM = 65536, DRAIN_SECONDS = 30, SHOWN = 600 };

struct request {
    const char *bytes;
    size_t length;
};

struct connection {
    int fd;
    const struct request *sending; /* NULL: idle */
    size_t sent;
    double due;
    char *in;
    size_t filled, room;
    size_t head, whole; /* lengths of the answer's head, and of all of it; 0: not known */
};

static struct request *requests;
static size_t request_count, next_request;
static struct sockaddr_in server = {.sin_family = AF_INET};
static int poller;

static struct connection **idle;
static size_t idle_count, in_flight;

static uint64_t answered[6]; /* by the first digit of the status */
static uint64_t broken, charged;
static float *latencies;
static size_t latency_count, latency_room;
static double last_answer;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void *grown(void *block, size_t bytes)
{
    block = realloc(block, bytes);
    if (!block)
        fail("realloc");
    return block;
}

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static void read_requests(const char *path)
{
    FILE *file = fopen(path, "rb");
    unsigned char prefix[4];
    if (!file)
        fail(path);
    while (fread(prefix, 1, sizeof prefix, file) == sizeof prefix) {
        size_t length = prefix[0] | (size_t)prefix[1] << 8 | (size_t)prefix[2] << 16 |
                        (size_t)prefix[3] << 24;
        char *bytes = grown(NULL, length);
        if (fread(bytes, 1, length, file) != length)
            fail(path);
        requests = grown(requests, (request_count + 1) * sizeof *requests);
        requests[request_count++] = (struct request){bytes, length};
    }
    fclose(file);
}

static void watch(struct connection *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event) < 0)
        fail("epoll_ctl");
}

static void dial(struct connection *c)
{
    int yes = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0)
        fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    c->filled = c->head = c->whole = 0;
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

/* Returns -1 when the connection is broken. */
static int flush(struct connection *c)
{
    while (c->sent < c->sending->length) {
        ssize_t n = send(c->fd, c->sending->bytes + c->sent, c->sending->length - c->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            return -1;
        if (n < 0) {
            watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return 0;
        }
        c->sent += (size_t)n;
    }
    return 0;
}

static void lose(struct connection *c)
{
    close(c->fd);
    if (c->sending) {
        c->sending = NULL;
        broken++;
        in_flight--;
        idle[idle_count++] = c;
    }
    dial(c);
}

static void begin(struct connection *c, double due)
{
    c->sending = &requests[next_request++ % request_count];
    c->sent = 0;
    c->due = due;
    in_flight++;
    if (flush(c) < 0)
        lose(c);
}

/* The value of a header of the answer's head, behind its name; NULL if it isn't there. */
static const char *header(const struct connection *c, const char *name)
{
    size_t length = strlen(name);
    const char *end = c->in + c->head;
    for (const char *line = c->in; line && line + length < end;
         line = memchr(line, '\n', (size_t)(end - line))) {
        line += line != c->in;
        if (line + length < end && !strncasecmp(line, name, length))
            return line + length;
    }
    return NULL;
}

static int is_whole(struct connection *c)
{
    static const char last_chunk[] = "\r\n0\r\n\r\n";
    const size_t last = sizeof last_chunk - 1;
    if (!c->head) {
        const char *end = memmem(c->in, c->filled, "\r\n\r\n", 4);
        if (!end)
            return 0;
        c->head = (size_t)(end - c->in) + 4;
        const char *length = header(c, "content-length:");
        c->whole = length ? c->head + strtoul(length, NULL, 10) : 0;
    }
    if (c->whole)
        return c->filled >= c->whole;
    /* chunked: nothing follows, since there is one request at a time on a connection */
    return c->filled >= last && !memcmp(c->in + c->filled - last, last_chunk, last);
}

static void note(struct connection *c)
{
    unsigned status = (unsigned)strtoul(c->in + sizeof "HTTP/1.1", NULL, 10);
    const char *cost = status == 200 ? header(c, "x-cost-nanos:") : NULL;
    static int has_told;
    if (status != 200 && !has_told++)
        fprintf(stderr, "%.*s\n", (int)(c->filled < SHOWN ? c->filled : SHOWN), c->in);
    last_answer = now();
    answered[status < 600 ? status / 100 : 0]++;
    charged += cost ? strtoull(cost, NULL, 10) : 0;
    if (latency_count == latency_room) {
        latency_room = latency_room ? 2 * latency_room : 1 << 20;
        latencies = grown(latencies, latency_room * sizeof *latencies);
    }
    latencies[latency_count++] = (float)((last_answer - c->due) * 1e3);
}

/* Reads what is there. Returns -1 when the connection has ended. */
static int take(struct connection *c)
{
    for (;;) {
        if (c->filled == c->room)
            c->in = grown(c->in, c->room *= 2);
        size_t room = c->room - c->filled;
        ssize_t n = recv(c->fd, c->in + c->filled, room, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0)
            return -1;
        c->filled += (size_t)n;
        if (c->sending && is_whole(c)) {
            note(c);
            c->filled = c->head = c->whole = 0;
            c->sending = NULL;
            in_flight--;
            idle[idle_count++] = c;
        }
        if ((size_t)n < room)
            return 0;
    }
}

static int ticking(double rate)
{
    long nanos = (long)(1e9 / rate);
    struct itimerspec every = {.it_interval = {nanos / 1000000000, nanos % 1000000000}};
    every.it_value = every.it_interval;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (fd < 0 || timerfd_settime(fd, 0, &every, NULL) < 0 ||
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("timerfd");
    return fd;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double quantile(double share)
{
    return latency_count ? (double)latencies[(size_t)((double)(latency_count - 1) * share)] : 0;
}

static void tell(double began)
{
    double seconds = last_answer - began;
    qsort(latencies, latency_count, sizeof *latencies, ascending);
    printf("{\"ok\":%lu,\"client_errors\":%lu,\"server_errors\":%lu,\"broken\":%lu,"
           "\"charged\":%lu,\"seconds\":%.6f,\"rate\":%.3f,"
           "\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"max_ms\":%.4f}\n",
           answered[2], answered[4], answered[5], broken + in_flight, charged, seconds,
           seconds > 0 ? (double)latency_count / seconds : 0, quantile(0.5), quantile(0.99),
           quantile(1));
}

int main(int count, char **words)
{
    if (count != 7)
        return fprintf(stderr, "load FILE PORT CONNECTIONS SECONDS RATE COUNT\n"), 2;
    size_t connections = strtoul(words[3], NULL, 10);
    double rate = strtod(words[5], NULL);
    size_t limit = strtoul(words[6], NULL, 10);
    size_t begun = 0;
    read_requests(words[1]);
    server.sin_port = htons((uint16_t)strtoul(words[2], NULL, 10));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    poller = epoll_create1(0);
    idle = grown(NULL, connections * sizeof *idle);
    struct connection *all = calloc(connections, sizeof *all);
    if (!all || poller < 0)
        fail("start");
    for (size_t i = 0; i < connections; i++) {
        all[i].in = grown(NULL, all[i].room = ROOM);
        dial(&all[i]);
        idle[idle_count++] = &all[i];
    }
    int timer = rate > 0 ? ticking(rate) : -1;
    double began = now(), end = began + strtod(words[4], NULL);
    for (;;) {
        double at = now(), due = rate > 0 ? began + (double)begun / rate : at;
        int is_over = at >= end || (limit && begun >= limit);
        while (!is_over && idle_count && due <= at) {
            begin(idle[--idle_count], due);
            begun++;
            due = rate > 0 ? began + (double)begun / rate : at;
            is_over = limit && begun >= limit;
        }
        if (is_over && (!in_flight || at >= end + DRAIN_SECONDS))
            break;
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(poller, events, EVENTS, 50);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            uint64_t ticks;
            if (!c) {
                if (read(timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN)
                    fail("timerfd");
                continue;
            }
            if (events[i].events & EPOLLOUT) {
                watch(c, EPOLL_CTL_MOD, EPOLLIN);
                if (c->sending && flush(c) < 0) {
                    lose(c);
                    continue;
                }
            }
            if (take(c) < 0)
                lose(c);
        }
    }
    tell(began);
    return 0;
}
