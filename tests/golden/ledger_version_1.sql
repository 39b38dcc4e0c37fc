BEGIN TRANSACTION;
CREATE TABLE data_set (
	name VARCHAR(255) NOT NULL, 
	fingerprint TEXT NOT NULL, 
	unit VARCHAR(16) NOT NULL, 
	adjacency VARCHAR(32) NOT NULL, 
	epsilon FLOAT NOT NULL, 
	delta FLOAT NOT NULL, 
	composition VARCHAR(16) NOT NULL, 
	revision BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "data_set" VALUES('clinic','[100, "e3f88f99a1af184c253c482e4837811ce742dc8058630ab35bc489a4108481fa", "1MBi6+oLoALrbUckvWlXAxBmhIGukC0GjgfB039o6AmCxd8fnxtWDRWqm6YZQo4NtOJn8SBQaw6xzs2a997jEuBSvH0nY8cUmeDBcdbm7R6SaprG0luFKwJmnOQX9eQrjXXKZ98vvzKshr8PItnnN6rht0sqkBs4ZZmUyP/qIDrh7pmuUn/xOqMY3Ntz6yg98tzKPR7OYD70Ri4NZoMJQA03aZvdg4VERKZMpNrUn0nc8IwyUqRsSp4VKQJvrJlMf2z200LsfE3W/8UcwnHNTbk0A7i7r4RPG94OBKXqH1Ggm7OKDHEqUSsWpXu4aIFRYn0wAXLST1JcCKtMtB1RXCseH0OJd1tdizl+srBXQ196A/ESMhzlZx/6PRbHfQdvgcgkLqBfhXFRFnTbO+p/cravfT0ToGZ11AwCUQydq3clBNTEQej9eM8p49olONN7WdOaJKw6HH7SMDElXE7AhP+gJRs5YUaFL/XjCMh044VAh31+NWbhhhhirB6pSTeJ2TsGZsPctYptLlGDlw+Si08mqn2MVOuQzI0/TImDhZG6UOWi1XZkkvNlDDLpy1eUPBAP7H4tfpj1Uyv5/ZURm9GJUh6QkYadFKrCP1xtGaGKwvPeQsViqELLbl/rVLaop/VJmUIqh6nhWAKhfjj2qsqvSP0441mtDlE8DEQW8bJyTUFoWspfucZZsOCryau5bkqkE9uHKLxJ3Z2J+2PFvo3VqqvLcv2+D32MM1cgqsD2uG5z0esNwZrPfFKBk6jDyqoFrTrErMcd77ZtKPcAybITzfWh6ljOhm8fWodDac48MQqLAXMLzwJ/CwRA1z/PdlXNvOHKqdBfl7uMOryV1Nmvp/wvtOTYXi+HAohjsttfDaW8f9bl37y/0UJRp2vghlKHzzK9ZOGCtKM1LluE4eSvjPvsz6HjKTLo3+H+9uOCKIIanwDB5ZqqCpMDNynm3hrQ/NUp0OhIHJ4jImJK65EDrEJtqY7v1lTDfwDdPPN6X80n6mEB9Tr9RpD8fBz5Ba+NUQw6lPoZ8Dsukvq2+q+7TYHrLNr6eQDLJ2kUmP0=", "ecYghixfkCs86HyTxmlPkQ=="]','example','zero_out',8.0,1.0e-05,'planned',7);
CREATE TABLE ledger (
	id INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	created VARCHAR(40) NOT NULL, 
	secret_hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "ledger" VALUES(1,1,'9670ef84825b2826','2026-11-30T15:33:06.307+00:00','6b8ad9a08816efa58cf22f9ea4caaee84d362185fcc4b692da5eadb417e8108a');
CREATE TABLE secret (
	id INTEGER NOT NULL, 
	value VARCHAR(64) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "secret" VALUES(1,'b99f205e76fed1244e561151a80a4182824ec0d648d4c05b1b4c686707717c41');
CREATE TABLE spend (
	id VARCHAR(64) NOT NULL, 
	data_set VARCHAR(255) NOT NULL, 
	"key" VARCHAR(128) NOT NULL, 
	who VARCHAR(255) NOT NULL, 
	tool VARCHAR(64) NOT NULL, 
	label TEXT NOT NULL, 
	spend TEXT NOT NULL, 
	steps BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	process VARCHAR(255) NOT NULL, 
	created VARCHAR(40) NOT NULL, 
	updated VARCHAR(40) NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(data_set) REFERENCES data_set (name)
);
INSERT INTO "spend" VALUES('de41593e074ecfe912b5c65b3c922c53','clinic','a','ana','dpjax','run a','{"claim":[4.652984530968451,1e-05],"delta":0.0,"each":{"count":1,"event":{"noise_multiplier":3.0,"type":"GaussianDpEvent"},"type":"SelfComposedDpEvent"},"once":null,"overflow":0.0,"steps":10}',4,'closed','0a1b2c3d.42','2026-11-30T15:33:07.554+00:00','2026-11-30T15:33:07.580+00:00');
INSERT INTO "spend" VALUES('12f29419bd089eedf2bffd20c61b7075','clinic','b','ana','dpjax','run b','{"claim":[0.6956338471554607,1e-05],"delta":0.0,"each":{"count":1,"event":{"noise_multiplier":9.0,"type":"GaussianDpEvent"},"type":"SelfComposedDpEvent"},"once":null,"overflow":0.0,"steps":3}',1,'open','0a1b2c3d.42','2026-11-30T15:33:07.589+00:00','2026-11-30T15:33:07.610+00:00');
CREATE TABLE trail (
	sequence BIGINT NOT NULL, 
	time VARCHAR(40) NOT NULL, 
	who VARCHAR(255) NOT NULL, 
	action VARCHAR(32) NOT NULL, 
	subject VARCHAR(255) NOT NULL, 
	detail TEXT NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (sequence)
);
INSERT INTO "trail" VALUES(1,'2026-11-30T15:33:06.307+00:00','ana','init','','{"name":"9670ef84825b2826","secret_hash":"6b8ad9a08816efa58cf22f9ea4caaee84d362185fcc4b692da5eadb417e8108a","version":1}','79ecf43028741b79918d2a3082f9b4624836b9605e13035e56cdada9ec253663');
INSERT INTO "trail" VALUES(2,'2026-11-30T15:33:06.339+00:00','ana','budget','clinic','{"adjacency":"zero_out","composition":"planned","delta":1e-05,"epsilon":8.0,"fingerprint":"[100, \"e3f88f99a1af184c253c482e4837811ce742dc8058630ab35bc489a4108481fa\", \"1MBi6+oLoALrbUckvWlXAxBmhIGukC0GjgfB039o6AmCxd8fnxtWDRWqm6YZQo4NtOJn8SBQaw6xzs2a997jEuBSvH0nY8cUmeDBcdbm7R6SaprG0luFKwJmnOQX9eQrjXXKZ98vvzKshr8PItnnN6rht0sqkBs4ZZmUyP/qIDrh7pmuUn/xOqMY3Ntz6yg98tzKPR7OYD70Ri4NZoMJQA03aZvdg4VERKZMpNrUn0nc8IwyUqRsSp4VKQJvrJlMf2z200LsfE3W/8UcwnHNTbk0A7i7r4RPG94OBKXqH1Ggm7OKDHEqUSsWpXu4aIFRYn0wAXLST1JcCKtMtB1RXCseH0OJd1tdizl+srBXQ196A/ESMhzlZx/6PRbHfQdvgcgkLqBfhXFRFnTbO+p/cravfT0ToGZ11AwCUQydq3clBNTEQej9eM8p49olONN7WdOaJKw6HH7SMDElXE7AhP+gJRs5YUaFL/XjCMh044VAh31+NWbhhhhirB6pSTeJ2TsGZsPctYptLlGDlw+Si08mqn2MVOuQzI0/TImDhZG6UOWi1XZkkvNlDDLpy1eUPBAP7H4tfpj1Uyv5/ZURm9GJUh6QkYadFKrCP1xtGaGKwvPeQsViqELLbl/rVLaop/VJmUIqh6nhWAKhfjj2qsqvSP0441mtDlE8DEQW8bJyTUFoWspfucZZsOCryau5bkqkE9uHKLxJ3Z2J+2PFvo3VqqvLcv2+D32MM1cgqsD2uG5z0esNwZrPfFKBk6jDyqoFrTrErMcd77ZtKPcAybITzfWh6ljOhm8fWodDac48MQqLAXMLzwJ/CwRA1z/PdlXNvOHKqdBfl7uMOryV1Nmvp/wvtOTYXi+HAohjsttfDaW8f9bl37y/0UJRp2vghlKHzzK9ZOGCtKM1LluE4eSvjPvsz6HjKTLo3+H+9uOCKIIanwDB5ZqqCpMDNynm3hrQ/NUp0OhIHJ4jImJK65EDrEJtqY7v1lTDfwDdPPN6X80n6mEB9Tr9RpD8fBz5Ba+NUQw6lPoZ8Dsukvq2+q+7TYHrLNr6eQDLJ2kUmP0=\", \"ecYghixfkCs86HyTxmlPkQ==\"]","unit":"example"}','a89f4a8795ea289d1ef9bf90d91b016d304aeeb04751c5083ba84cabc50ac4a1');
INSERT INTO "trail" VALUES(3,'2026-11-30T15:33:07.554+00:00','ana','reserve','clinic','{"runs":[{"id":"de41593e074ecfe912b5c65b3c922c53","key":"a","label":"run a","process":"0a1b2c3d.42","spend":"{\"claim\":[4.652984530968451,1e-05],\"delta\":0.0,\"each\":{\"count\":1,\"event\":{\"noise_multiplier\":3.0,\"type\":\"GaussianDpEvent\"},\"type\":\"SelfComposedDpEvent\"},\"once\":null,\"overflow\":0.0,\"steps\":10}","state":"open","steps":0,"tool":"dpjax"}]}','392db79a5f056f59c5484aa05b793631f5fc32abc42c77013ab3ca78a1a35e7c');
INSERT INTO "trail" VALUES(4,'2026-11-30T15:33:07.570+00:00','ana','commit','clinic','{"runs":[{"id":"de41593e074ecfe912b5c65b3c922c53","steps":4}]}','2382a909278d6aead398fd2427a11092eea53efab541eee2874931f10107c286');
INSERT INTO "trail" VALUES(5,'2026-11-30T15:33:07.580+00:00','ana','close','clinic','{"runs":[{"id":"de41593e074ecfe912b5c65b3c922c53","state":"closed"}]}','50ff4dd58a230d0970fc5a2ffa98be83cfc5c847fe0a4148f3cc0bdd9de54e6b');
INSERT INTO "trail" VALUES(6,'2026-11-30T15:33:07.589+00:00','ana','reserve','clinic','{"runs":[{"id":"12f29419bd089eedf2bffd20c61b7075","key":"b","label":"run b","process":"0a1b2c3d.42","spend":"{\"claim\":[0.6956338471554607,1e-05],\"delta\":0.0,\"each\":{\"count\":1,\"event\":{\"noise_multiplier\":9.0,\"type\":\"GaussianDpEvent\"},\"type\":\"SelfComposedDpEvent\"},\"once\":null,\"overflow\":0.0,\"steps\":3}","state":"open","steps":0,"tool":"dpjax"}]}','951e7c3d00dae1d99e5aeae6fb5ab950e62310cfdbf645b4dc4746f0cdd9b116');
INSERT INTO "trail" VALUES(7,'2026-11-30T15:33:07.610+00:00','ana','commit','clinic','{"runs":[{"id":"12f29419bd089eedf2bffd20c61b7075","steps":1}]}','62703eb0b2e1d8c435fe20d082cde85cec2ab937546c3e7091773f1d672edf4a');
INSERT INTO "trail" VALUES(8,'2026-11-30T15:33:07.654+00:00','ana','refuse','clinic','{"why":"data clinic has spent ε=2.88 of 8 at δ=1e-05, and this run would make it 46.6; ε=7.12 would fit."}','ac72b1331d58bf65eb0f2a0533c4cbc6a640c69aa32f874e9c5180c7dd3645f9');
CREATE INDEX ix_spend_data_set ON spend (data_set);
CREATE INDEX ix_spend_key ON spend ("key");
COMMIT;
