/* A stand-in for an embedding worker that is never the limit.

       stand_in SOCKET PORT INFO

   On the unix socket and on the port alike:

       GET /ready, /info       as a worker answers; INFO is the JSON of the latter
       POST /embed             the binary hop (backends/hop.py)
       POST /v1/embeddings     OpenAI's form, for other gateways: the same vector for each text
       GET anything            a list of models, which passes for healthy with other gateways

   A row's vector in the hop is a fixed unit vector of its dimensions, turned by the checksum of its
   ids: the same for the same text, another one for another text. Texts in OpenAI's form hold no
   quotes and no brackets; the benchmark's don't. Prints a line when it listens. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    ROOM = 65536,
    ROWS_MAX = 2048,
    DIMENSIONS_MAX = 8192,
    TEXTS_MAX = 64,
    SHOWN = 1024 /* dimensions in OpenAI's form */
};

struct text {
    char *bytes;
    size_t length;
};

struct connection {
    int fd;
    int is_listener;
    char *in;
    size_t filled, room;
    const char *out; /* borrowed from `own`, or from what was prepared */
    size_t out_length, sent;
    char *own;
    size_t own_room;
};

static int poller;
static float *unit[DIMENSIONS_MAX + 1]; /* by dimensions, twice over, so that a turn is a copy */
static uint32_t checksums[8][256];
static struct text ready, info, listing, base64_vector, float_vector;
static struct text prepared[2][TEXTS_MAX + 1]; /* OpenAI's answers: as floats, as base64 */

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

static void prepare_checksums(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
        checksums[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            checksums[k][i] = checksums[0][checksums[k - 1][i] & 255] ^ checksums[k - 1][i] >> 8;
}

/* zlib's crc32, eight bytes at a time. */
static uint32_t checksum(const unsigned char *p, size_t n)
{
    uint32_t c = ~0u;
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + 4, 4);
        low ^= c;
        c = checksums[7][low & 255] ^ checksums[6][low >> 8 & 255] ^
            checksums[5][low >> 16 & 255] ^ checksums[4][low >> 24] ^
            checksums[3][high & 255] ^ checksums[2][high >> 8 & 255] ^
            checksums[1][high >> 16 & 255] ^ checksums[0][high >> 24];
    }
    while (n--)
        c = checksums[0][(c ^ *p++) & 255] ^ c >> 8;
    return ~c;
}

static const float *unit_vector(uint32_t dimensions)
{
    if (dimensions == 0 || dimensions > DIMENSIONS_MAX)
        return NULL;
    if (unit[dimensions])
        return unit[dimensions];
    float *v = grown(NULL, 2 * dimensions * sizeof *v);
    uint32_t state = 7;
    double squares = 0;
    for (uint32_t i = 0; i < dimensions; i++) {
        state = state * 1664525u + 1013904223u;
        v[i] = (float)state / 4294967296.0f - 0.5f;
        squares += (double)v[i] * v[i];
    }
    for (uint32_t i = 0; i < dimensions; i++)
        v[i] = v[dimensions + i] = (float)(v[i] / sqrt(squares));
    return unit[dimensions] = v;
}

static struct text http(const char *type, const char *body, size_t length)
{
    struct text t = {grown(NULL, length + 256), 0};
    t.length = (size_t)sprintf(t.bytes,
                               "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
                               "Content-Length: %zu\r\n\r\n",
                               type, length);
    memcpy(t.bytes + t.length, body, length);
    t.length += length;
    return t;
}

static void prepare_vectors(void)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "abcdefghijklmnopqrstuvwxyz0123456789+/";
    const float *v = unit_vector(SHOWN);
    const unsigned char *raw = (const unsigned char *)v;
    char *out = base64_vector.bytes = grown(NULL, SHOWN * 6 + 8);
    *out++ = '"';
    for (size_t i = 0; i < SHOWN * sizeof *v; i += 3) {
        size_t left = SHOWN * sizeof *v - i;
        uint32_t second = left > 1 ? raw[i + 1] : 0, third = left > 2 ? raw[i + 2] : 0;
        uint32_t group = (uint32_t)raw[i] << 16 | second << 8 | third;
        *out++ = letters[group >> 18];
        *out++ = letters[group >> 12 & 63];
        *out++ = left > 1 ? letters[group >> 6 & 63] : '=';
        *out++ = left > 2 ? letters[group & 63] : '=';
    }
    *out++ = '"';
    base64_vector.length = (size_t)(out - base64_vector.bytes);
    out = float_vector.bytes = grown(NULL, SHOWN * 24);
    for (size_t i = 0; i < SHOWN; i++)
        out += sprintf(out, "%c%.9g", i ? ',' : '[', (double)v[i]);
    *out++ = ']';
    float_vector.length = (size_t)(out - float_vector.bytes);
}

static const struct text *openai(const char *body, size_t length)
{
    const char *input = memmem(body, length, "\"input\"", 7), *end = body + length;
    size_t quotes = 0, rows = 1;
    int is_base64 = memmem(body, length, "\"base64\"", 8) != NULL;
    if (!input)
        return NULL;
    for (input += 7; input < end && *input != '[' && *input != '"'; input++)
        ;
    if (input < end && *input == '[') {
        for (; input < end && *input != ']'; input++)
            quotes += *input == '"';
        rows = quotes / 2;
    }
    if (rows > TEXTS_MAX)
        return NULL;
    struct text *t = &prepared[is_base64][rows];
    if (t->bytes)
        return t;
    const struct text *v = is_base64 ? &base64_vector : &float_vector;
    char *answer = grown(NULL, rows * (v->length + 64) + 256), *out = answer;
    out += sprintf(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < rows; i++)
        out += sprintf(out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":%.*s}",
                       i ? "," : "", i, (int)v->length, v->bytes);
    out += sprintf(out,
                   "],\"model\":\"stand-in\","
                   "\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu}}",
                   20 * rows, 20 * rows);
    *t = http("application/json", answer, (size_t)(out - answer));
    free(answer);
    return t;
}

static void watch(struct connection *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event) < 0)
        fail("epoll_ctl");
}

/* Sends what it can, and the rest when there is room. Returns -1 on a broken connection. */
static int flush(struct connection *c)
{
    while (c->sent < c->out_length) {
        ssize_t n = send(c->fd, c->out + c->sent, c->out_length - c->sent,
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

static int respond(struct connection *c, const char *bytes, size_t length)
{
    c->out = bytes;
    c->out_length = length;
    c->sent = 0;
    return flush(c);
}

/* Answers one call of the hop. Returns -1 for what is no such call. */
static int hop(struct connection *c, const char *body, size_t length)
{
    static uint32_t table[2 * ROWS_MAX];
    uint32_t rows;
    size_t floats = 0;
    if (length < 8 || memcmp(body, "EMQ1", 4))
        return -1;
    memcpy(&rows, body + 4, 4);
    if (rows > ROWS_MAX || length < 8 + 8ul * rows)
        return -1;
    memcpy(table, body + 8, 8ul * rows);
    for (uint32_t i = 0; i < rows; i++)
        floats += table[2 * i + 1];
    size_t answer = 8 + 8ul * rows + 4 * floats;
    if (c->own_room < answer + 256)
        c->own = grown(c->own, c->own_room = answer + 256);
    int head = sprintf(c->own,
                       "HTTP/1.1 200 OK\r\nContent-Type: application/x-embedding-hop\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       answer);
    char *out = c->own + head, *vectors = out + 8 + 8ul * rows;
    const char *ids = body + 8 + 8ul * rows;
    memcpy(out, "EMR1", 4);
    memcpy(out + 4, &rows, 4);
    for (uint32_t i = 0; i < rows; i++) {
        size_t bytes = 4ul * table[2 * i];
        uint32_t dimensions = table[2 * i + 1];
        const float *v = unit_vector(dimensions);
        if (!v || ids + bytes > body + length)
            return -1;
        uint32_t sum = checksum((const unsigned char *)ids, bytes);
        memcpy(out + 8 + 8ul * i, &sum, 4);
        memcpy(out + 12 + 8ul * i, &dimensions, 4);
        memcpy(vectors, v + sum % dimensions, 4ul * dimensions);
        vectors += 4ul * dimensions;
        ids += bytes;
    }
    return respond(c, c->own, (size_t)head + answer);
}

static size_t body_length(const char *head, size_t length)
{
    static const char name[] = "\ncontent-length:";
    const char *end = head + length;
    for (const char *line = head; (line = memchr(line, '\n', (size_t)(end - line))); line++)
        if ((size_t)(end - line) > sizeof name && !strncasecmp(line, name, sizeof name - 1))
            return strtoul(line + sizeof name - 1, NULL, 10);
    return 0;
}

static int starts_with(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

/* Answers the requests that are whole, one after the other. Returns -1 to close. */
static int serve(struct connection *c)
{
    while (c->filled && c->sent == c->out_length) {
        const char *end = memmem(c->in, c->filled, "\r\n\r\n", 4);
        if (!end)
            return 0;
        size_t head = (size_t)(end - c->in) + 4, length = body_length(c->in, head);
        if (c->filled < head + length)
            return 0;
        int result;
        if (starts_with(c->in, "POST /embed ")) {
            result = hop(c, c->in + head, length);
        } else {
            const struct text *t = starts_with(c->in, "GET /ready") ? &ready
                                   : starts_with(c->in, "GET /info") ? &info
                                   : starts_with(c->in, "POST ")     ? openai(c->in + head, length)
                                                                     : &listing;
            result = t ? respond(c, t->bytes, t->length) : -1;
        }
        if (result < 0)
            return -1;
        c->filled -= head + length;
        memmove(c->in, c->in + head + length, c->filled);
    }
    return 0;
}

/* Returns -1 when the connection has ended. */
static int take(struct connection *c)
{
    for (;;) {
        if (c->filled == c->room)
            c->in = grown(c->in, c->room *= 2);
        size_t room = c->room - c->filled;
        ssize_t n = recv(c->fd, c->in + c->filled, room, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return serve(c);
        if (n <= 0)
            return -1;
        c->filled += (size_t)n;
        if ((size_t)n < room)
            return serve(c);
    }
}

static void let_in(const struct connection *listener)
{
    int fd, yes = 1;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            fail("calloc");
        c->fd = fd;
        c->in = grown(NULL, c->room = ROOM);
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void end(struct connection *c)
{
    close(c->fd);
    free(c->in);
    free(c->own);
    free(c);
}

static void listen_on(int family, const struct sockaddr *address, socklen_t length)
{
    struct connection *c = calloc(1, sizeof *c);
    int yes = 1;
    if (!c)
        fail("calloc");
    c->is_listener = 1;
    c->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (c->fd < 0 || bind(c->fd, address, length) < 0 || listen(c->fd, 1024) < 0)
        fail("listen");
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

int main(int count, char **words)
{
    static const char models[] =
        "{\"status\":\"ok\",\"object\":\"list\",\"model_path\":\"stand-in\","
        "\"data\":[{\"id\":\"stand-in\",\"object\":\"model\","
        "\"owned_by\":\"bench\",\"created\":1}]}";
    if (count != 4)
        return fprintf(stderr, "stand_in SOCKET PORT INFO\n"), 2;
    poller = epoll_create1(0);
    prepare_checksums();
    prepare_vectors();
    ready = http("application/json", "{\"state\":\"ready\"}", 17);
    info = http("application/json", words[3], strlen(words[3]));
    listing = http("application/json", models, sizeof models - 1);
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in remote = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    strncpy(local.sun_path, words[1], sizeof local.sun_path - 1);
    remote.sin_port = htons((uint16_t)strtoul(words[2], NULL, 10));
    listen_on(AF_UNIX, (struct sockaddr *)&local, sizeof local);
    listen_on(AF_INET, (struct sockaddr *)&remote, sizeof remote);
    printf("listening\n");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready_count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready_count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->is_listener) {
                let_in(c);
                continue;
            }
            if (events[i].events & EPOLLOUT) {
                watch(c, EPOLL_CTL_MOD, EPOLLIN);
                if (flush(c) < 0 || serve(c) < 0) {
                    end(c);
                    continue;
                }
            }
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && take(c) < 0)
                end(c);
        }
    }
}
