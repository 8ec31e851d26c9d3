import java.net.*;
import java.nio.ByteBuffer;
import java.nio.channels.*;

/** Ways out that a Java program has: Attack WAY TOKEN WHERE... */
class Attack {
    public static void main(String[] words) throws Exception {
        byte[] token = words[1].getBytes();
        System.out.println("trying");
        try {
            switch (words[0]) {
                case "tcp" -> { try (var s = new Socket("127.0.0.1", Integer.parseInt(words[2]))) { s.getOutputStream().write(token); } }
                case "udp" -> { try (var s = new DatagramSocket()) { s.send(new DatagramPacket(token, token.length, new InetSocketAddress("127.0.0.1", Integer.parseInt(words[2])))); } }
                case "local" -> { try (var s = SocketChannel.open(UnixDomainSocketAddress.of(words[2]))) { s.write(ByteBuffer.wrap(token)); } }
                default -> System.exit(64);
            }
        } catch (java.io.IOException error) {
            System.out.println("refused " + error.getMessage());
        }
    }
}
