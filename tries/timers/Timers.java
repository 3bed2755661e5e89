// A scheduler with 1,000 threads, and an HTTP answer for whoever makes load: Timers PORT
// Prints "tick NAME MICROSECONDS" whenever a timer fires: how late it was.
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

public final class Timers {
    private static void every(ScheduledThreadPoolExecutor pool, long ms) {
        long period = TimeUnit.MILLISECONDS.toNanos(ms);
        long[] due = {System.nanoTime() + period};
        pool.scheduleAtFixedRate(() -> {
            long late = (System.nanoTime() - due[0]) / 1000;
            due[0] += period;
            synchronized (System.out) {
                System.out.println("tick scheduleAtFixedRate(" + ms + ") " + late);
                System.out.flush();
            }
        }, period, period, TimeUnit.NANOSECONDS);
    }

    public static void main(String[] args) throws Exception {
        var pool = new ScheduledThreadPoolExecutor(1000);
        pool.prestartAllCoreThreads();
        byte[] ok = {'o', 'k'};
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 512);
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, ok.length);
            try (var body = exchange.getResponseBody()) {
                body.write(ok);
            }
        });
        server.start();
        every(pool, 1000);
        every(pool, 200);
    }
}
