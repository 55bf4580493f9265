"""The words that the population is composed of: names, companies and places, all invented combinations."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    """Family names and given names, or stems and branches of company names."""

    last: tuple[str, ...]
    first: tuple[str, ...]


EAST = Names(
    (
        "佐藤",
        "鈴木",
        "高橋",
        "田中",
        "伊藤",
        "渡邊",
        "山本",
        "中村",
        "小林",
        "加藤",
        "吉田",
        "山田",
        "髙橋",
        "斎藤",
    ),
    (
        "太郎",
        "花子",
        "一郎",
        "美咲",
        "健",
        "陽子",
        "大輔",
        "さくら",
        "拓也",
        "由美",
        "翔",
        "直子",
        "ゆかり",
        "誠",
    ),
)
WEST = Names(
    (
        "Smith",
        "Müller",
        "O'Brien",
        "Garcia",
        "Jensen",
        "Dubois",
        "Kowalski",
        "Rossi",
        "Novák",
        "van der Berg",
        "Łukasz",
    ),
    ("Anna", "John", "Zoë", "Luca", "Marie", "Søren", "Eva", "Piotr", "Inês", "James", "Renée"),
)
COMPANIES_EAST = Names(
    ("青葉", "みなと", "さくら", "大和", "富士", "北斗", "東亜", "日の出", "丸山", "サンプル", "アルファ"),
    ("商事", "製作所", "電機", "システムズ", "食品", "建設", "物流", "印刷", "工業", "テクノ"),
)
COMPANIES_WEST = Names(
    ("Northwind", "Harbour", "Blue", "Öko", "Atlas", "Delta", "Meridian", "Pine", '"Quick"', "Silver"),
    ("Trading", "Foods", "Logistics", "Systems", "Works", "Print", "Energy", "Robotics", "Textiles"),
)
# Postal code prefix, prefecture, city or ward, town.
PLACES_EAST = (
    ("100", "東京都", "千代田区", "丸の内"),
    ("150", "東京都", "渋谷区", "神宮前"),
    ("060", "北海道", "札幌市中央区", "北一条西"),
    ("220", "神奈川県", "横浜市西区", "みなとみらい"),
    ("460", "愛知県", "名古屋市中区", "栄"),
    ("530", "大阪府", "大阪市北区", "梅田"),
    ("604", "京都府", "京都市中京区", "烏丸通"),
    ("812", "福岡県", "福岡市博多区", "博多駅前"),
    ("900", "沖縄県", "那覇市", "おもろまち"),
    ("010", "秋田県", "秋田市", "山王"),
)
# City, state, country, street.
PLACES_WEST = (
    ("London", None, "United Kingdom", "Example Road"),
    ("Berlin", "Berlin", "Germany", "Musterstraße"),
    ("Austin", "TX", "United States", "Sample Avenue"),
    ("Lyon", None, "France", "rue de l'Exemple"),
    ("Utrecht", "UT", "Netherlands", "Voorbeeldlaan"),
)
