// A small HTTP server, threads that allocate and verify, and timers that check themselves.
// The paths are those of server.py; /old fills fresh parts of the heap, which is mapped at the
// start and asks for nothing; /asked goes through malloc, which asks (GLIBC_TUNABLES).
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

public class Server {
    static final AtomicLong timers = new AtomicLong(), early = new AtomicLong(), late = new AtomicLong();
    static final AtomicLong wrong = new AtomicLong(), blocks = new AtomicLong();
    static final List<Object> kept = Collections.synchronizedList(new ArrayList<>());

    static void saw(long asked, long took) {
        timers.incrementAndGet();
        if (took < asked) early.incrementAndGet();
        late.accumulateAndGet((took - asked) / 1000, Math::max);
    }

    static void churn(long seed) {
        var random = new SplittableRandom(seed);
        var live = new long[64][];
        var sums = new long[64];
        while (true) {
            int at = random.nextInt(64);
            if (live[at] != null) {
                long sum = 0;
                for (long x : live[at]) sum = sum * 31 + x;
                if (sum != sums[at]) wrong.incrementAndGet();
            }
            var block = new long[random.nextInt(1, 4096)];
            long sum = 0;
            for (int i = 0; i < block.length; i++) {
                block[i] = random.nextLong();
                sum = sum * 31 + block[i];
            }
            live[at] = block;
            sums[at] = sum;
            if (blocks.incrementAndGet() % 64 == 0) try { Thread.sleep(1); } catch (InterruptedException e) { wrong.incrementAndGet(); }
        }
    }

    static String answer(String path) {
        var parts = path.split("/");
        switch (parts[1]) {
            case "echo": return parts[2].repeat(3);
            case "asked": {
                var buffer = ByteBuffer.allocateDirect(Integer.parseInt(parts[2]) << 20);
                for (int i = 0; i < buffer.capacity(); i += 4096) buffer.put(i, (byte) 1);
                kept.add(buffer);
                return "ok";
            }
            case "old": {
                // Larger than half of the young generation: it goes straight to the old one.
                kept.add(new byte[Integer.parseInt(parts[2]) << 20]);
                return "ok";
            }
            case "stats": return String.format("{\"timers\": %d, \"early\": %d, \"late_us\": %d, \"wrong\": %d, \"blocks\": %d}",
                timers.get(), early.get(), late.getAndSet(0), wrong.get(), blocks.get());
            default: return "?";
        }
    }

    public static void main(String[] args) throws Exception {
        for (int i = 0; i < 4; i++) {
            long seed = i;
            var thread = new Thread(() -> churn(seed));
            thread.setDaemon(true);
            thread.start();
        }
        for (long ms : new long[] {11, 17}) {
            var thread = new Thread(() -> {
                while (true) {
                    long t = System.nanoTime();
                    try { Thread.sleep(ms); } catch (InterruptedException e) { wrong.incrementAndGet(); }
                    saw(ms * 1_000_000, System.nanoTime() - t);
                }
            });
            thread.setDaemon(true);
            thread.start();
        }
        var pool = Executors.newScheduledThreadPool(2);
        var again = new Runnable() {
            long asked;
            public void run() {
                long now = System.nanoTime();
                if (asked != 0) saw(13_000_000, now - asked);
                asked = System.nanoTime();
                pool.schedule(this, 13, TimeUnit.MILLISECONDS);
            }
        };
        pool.execute(again);
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 512);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", exchange -> {
            var body = answer(exchange.getRequestURI().getPath()).getBytes();
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }
}
